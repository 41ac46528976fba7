"""Text on the terminal: names and licences that strangers wrote cannot steer it."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import typer

from ..document import to_short_yaml

#: Control characters (Cc) steer a terminal; some of Cf, like U+202E, turn the letters after them;
#: half characters (Cs) of names that are not UTF-8 cannot be printed at all.
_STEERING = {"Cc", "Cf", "Cs"}
#: The name of a CRS in WKT, and its code, which is the last thing in it (OGC 01-009; 18-010r7).
_NAME = re.compile(r'\s*\w+\s*\[\s*"([^"]*)"')
_CODE = re.compile(r'(?:AUTHORITY|ID)\["(\w+)",\s*"?(\w+)"?\]\s*\]\s*$')


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


def tell_result(result: Any, quiet: bool, as_json: bool) -> None:
    """Print what a command made or found: its summary, or one line of JSON."""
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    elif not quiet:
        tell(result.summary())


def show_values(values: dict[str, Any], as_json: bool) -> None:
    """Print values by name, as YAML or as one line of JSON.

    In YAML, numbers and short names of a list stand on one line, and a CRS by its name.
    """
    values = json.loads(json.dumps(values, default=str))
    if as_json:
        typer.echo(json.dumps(values))
    else:
        typer.echo(plain(to_short_yaml(_named(values))), nl=False)


def _named(values: Any) -> Any:
    """Return values with every CRS by its name."""
    if isinstance(values, list):
        return [_named(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {k: crs_name(v) if k == "crs" and v else _named(v) for k, v in values.items()}


def crs_name(wkt: str) -> str:
    """Return the name of a CRS in WKT, and its code where it ends with one.

    >>> crs_name('PROJCS["WGS 84 / UTM zone 33N",GEOGCS["WGS 84"],AUTHORITY["EPSG","32633"]]')
    'WGS 84 / UTM zone 33N (EPSG:32633)'
    >>> crs_name("EPSG:4326")
    'EPSG:4326'
    """
    name, code = _NAME.match(wkt), _CODE.search(wkt)
    if name is None:
        return wkt
    return name[1] + (f" ({code[1]}:{code[2]})" if code else "")


def _steers(letter: str) -> bool:
    return unicodedata.category(letter) in _STEERING


def _spelled(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
