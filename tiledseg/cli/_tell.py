"""Text on the terminal: names and licences that strangers wrote cannot steer it."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import typer

from ..document import to_yaml

#: Control characters (Cc) steer a terminal; some of Cf, like U+202E, turn the letters after them;
#: half characters (Cs) of names that are not UTF-8 cannot be printed at all.
_STEERING = {"Cc", "Cf", "Cs"}


def plain(text: object) -> str:
    r"""Return a text with what would steer a terminal spelled out.

    >>> plain("MIT\x1b[2J")
    'MIT\\x1b[2J'
    """
    return "".join(c if c in "\n\t" or not _steers(c) else _spelled(c) for c in str(text))


def line(text: object) -> str:
    """Return `plain` text on one line."""
    return plain(" ".join(str(text).split()))


def tell(text: object, err: bool = False) -> None:
    """Print a text, on stderr if asked."""
    typer.echo(plain(text), err=err)


def show_values(values: dict[str, Any], as_json: bool) -> None:
    """Print values by name, as YAML or as one line of JSON."""
    values = json.loads(json.dumps(values, default=str))
    if as_json:
        typer.echo(json.dumps(values))
    else:
        text = to_yaml(values)
        typer.echo(plain(text), nl=False)


def _steers(letter: str) -> bool:
    return unicodedata.category(letter) in _STEERING


def _spelled(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
