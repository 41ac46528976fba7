"""What a person, or another program, wrote as YAML or JSON -> plain values, or one sentence."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

import yaml

from .errors import ConfigError

#: Values and letters beyond which a text is a trap: aliases can stand for any number of them.
_MOST = 1_000_000
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = 60


def read_values(text: str, name: str, parse: Callable[[str], Any] = yaml.safe_load) -> Any:
    """Return the plain values of a text.

    Args:
        text: YAML, or what else ``parse`` takes.
        name: What to call it in a message: ``config run.yaml``.
        parse: Reads it.

    Raises:
        ConfigError: It cannot be parsed, or stands for more than any document needs.
    """
    try:
        values = parse(text)
    except RecursionError:
        raise ConfigError(f"{name} cannot be read: it is nested too deep") from None
    except Exception as error:  # YAML's tags let out ValueError, KeyError, AttributeError and more
        raise ConfigError(f"{name} cannot be read: {' '.join(str(error).split())}") from None
    if _is_trap(values):
        raise ConfigError(
            f"{name} cannot be read: it stands for more than {_MOST} values; write out its aliases"
        )
    return values


def brief(value: Any) -> str:
    """Return a value as a message shows it, at most 60 letters, without spelling out all of it.

    >>> brief([1, "a"])
    "[1, 'a']"
    """
    try:
        return _SHORT.repr(value)[:60]
    except ValueError:
        return "a number of thousands of digits"


def _is_trap(values: Any) -> bool:
    """Walk through values until there are too many: those that hold themselves never end."""
    seen, left = 0, [values]
    while left and seen <= _MOST:
        value = left.pop()
        seen += 1 + (len(value) if isinstance(value, str | bytes) else 0)
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list | tuple | set):
            left += value
    return seen > _MOST
