"""What commands have in common: settings given by name, and who is told how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, TypeVar

from ..errors import ConfigError

OnShare = Callable[[float], None]
Spec = TypeVar("Spec")
#: Numbers beyond are a slip.
_LARGEST = 1e18


def read_settings(
    kind: type[Spec], command: str, settings: dict[str, Any], listed: tuple[str, ...] = ()
) -> Spec:
    """Return settings by name as what checks them.

    Args:
        kind: A dataclass.
        command: Whose settings they are, for messages.
        settings: By the names of its fields.
        listed: Names of those that are lists, of which one value may be given alone.

    Raises:
        ConfigError: There is no such setting, or its value is none.
    """
    names = list(getattr(kind, "__dataclass_fields__", {}))
    unknown = set(settings) - set(names)
    if unknown:
        raise ConfigError(
            f"{command} has no setting {min(unknown)!r:.40}; there are {', '.join(names)}"
        )
    alone = {
        key: (settings[key],) for key in listed if isinstance(settings.get(key), str | int | float)
    }
    return kind(**{**settings, **alone})


def several(values: Any) -> list[Any]:
    """Return what a list holds, or the one value that was given in place of a list."""
    if isinstance(values, Iterable) and not isinstance(values, str):
        return list(values)
    return [values]


def is_number(value: Any) -> bool:
    """Return whether a value is a number, and neither infinite nor beyond any size."""
    plain = isinstance(value, Real) and not isinstance(value, bool)
    return bool(plain and -_LARGEST < value < _LARGEST)


def ignore(share: float) -> None:
    """Take no notice of how far something is."""
