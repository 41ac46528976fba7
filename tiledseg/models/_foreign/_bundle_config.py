"""A MONAI bundle's config as values: references and macros are followed, nothing is run.

MONAI makes objects of a config; here a ``_target_`` stays a `Part`, a name and arguments to look
at. Values are worked out when they are asked for, so what nobody asks for (where the bundle looks
for data, what it sets up before a run) may hold any code: it is never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ...document import brief
from ...errors import ConfigError
from ._bundle_expression import REFERENCE, NeedsCode, evaluate

_SEPARATOR = "::"
#: ``@##a``: as many ``::`` as levels to go up, the first of which is the value's own.
_RELATIVE = re.compile(rf"([@%])((?:{_SEPARATOR})+)")
#: A macro into another file: ``%configs/train.json::a``.
_FILE = re.compile(r"(.*\.(?:json|ya?ml))(?:::(.*))?", re.IGNORECASE)
#: Keys of a ``_target_`` that are no arguments of it.
_OWN = {"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"}
#: Values a config may stand for: references can multiply a few to any number.
_MOST = 100_000
#: MONAI's second names of transforms of dictionaries: ``LoadImageD``, ``LoadImageDict``.
_ALIAS = re.compile(r"(?<=[a-z0-9])(?:D|Dict)$")


class Part:
    """A ``_target_`` of a config: its name, and arguments that are worked out when asked for.

    Args:
        config: The config it is from.
        values: Its dict, as written.
        place: Its id.
    """

    def __init__(self, config: Config, values: dict[str, Any], place: str) -> None:
        self._config, self._values, self.place = config, values, place
        target = config.resolve(values["_target_"], f"{place}{_SEPARATOR}_target_")
        if not isinstance(target, str):
            raise ConfigError(f"{place}: _target_ must be a name, found {brief(target)}")
        if config.resolve(values.get("_mode_", "default"), place) != "default":
            raise ConfigError(f"{place}: _mode_ {brief(values['_mode_'])} is not known")
        self.target = target

    @property
    def name(self) -> str:
        """The name of a class of MONAI without its modules, else the target as it is."""
        dotted = self.target.split(".")
        last = dotted[-1] if dotted[0] == "monai" else self.target
        return _ALIAS.sub("d", last)

    @property
    def disabled(self) -> bool:
        """Whether MONAI would leave it out."""
        said = self._config.resolve(self._values.get("_disabled_", False), self.place)
        return said.strip().lower() == "true" if isinstance(said, str) else bool(said)

    @property
    def names(self) -> list[str]:
        """The names of its arguments."""
        return [key for key in self._values if key not in _OWN]

    def get(self, key: str, default: Any = None) -> Any:
        """Return an argument's value, or the default where there is none.

        Raises:
            NeedsCode: It cannot be worked out without running code.
        """
        if key not in self._values:
            return default
        return self._config.resolve(self._values[key], f"{self.place}{_SEPARATOR}{key}")

    def keys(self, key: str) -> tuple[str, ...]:
        """Return the keys of an argument that is a dict, whose values are not looked at."""
        values = self._values.get(key)
        return tuple(map(str, values)) if isinstance(values, dict) else ()

    def arguments(self) -> dict[str, Any]:
        """Return all arguments.

        Raises:
            NeedsCode: One cannot be worked out without running code.
        """
        return {key: self.get(key) for key in self.names}


class Config:
    """A config.

    Args:
        values: What the file holds.
        read: Returns the values of another file of the bundle, for macros.
        run: Returns the value of an id by running its code. None: no code is run.
    """

    def __init__(
        self,
        values: dict[str, Any],
        read: Callable[[str], Any],
        run: Callable[[str], Any] | None = None,
    ) -> None:
        self._values, self._read, self._run = values, read, run
        self._asked: list[str] = []
        self._count = 0

    def __contains__(self, place: str) -> bool:
        return place in self._values

    def get(self, place: str, default: Any = None) -> Any:
        """Return the value of a key of the file, or the default where there is none.

        Raises:
            NeedsCode: It cannot be worked out without running code.
        """
        return self._refer(place) if place in self._values else default

    def parts(self, deep: int) -> Iterator[Part]:
        """Yield what has a ``_target_`` anywhere in the file, at most so many levels down."""
        left = [(self._values[key], key, deep) for key in reversed(self._values)]
        while left:
            value, place, depth = left.pop()
            if isinstance(value, dict) and "_target_" in value:
                with suppress(ConfigError):  # a target that is code is none that is looked for
                    yield Part(self, value, place)
            elif isinstance(value, dict | list) and depth:
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                inner = [(v, f"{place}{_SEPARATOR}{k}", depth - 1) for k, v in pairs]
                left += reversed(inner)

    def resolve(self, value: Any, place: str) -> Any:
        """Return what a value stands for.

        Args:
            value: As written.
            place: Its id, ``a::b::0``.

        Raises:
            ConfigError: It refers to nothing or to itself.
            NeedsCode: It is code.
        """
        self._count += 1
        if self._count > _MOST:
            raise ConfigError(f"{place}: the config stands for more than {_MOST} values")
        if isinstance(value, str):
            return self._of_text(value, place)
        if isinstance(value, dict):
            if "_target_" in value:
                return Part(self, value, place)
            return {k: self.resolve(v, f"{place}{_SEPARATOR}{k}") for k, v in value.items()}
        if isinstance(value, list):
            return [self.resolve(v, f"{place}{_SEPARATOR}{i}") for i, v in enumerate(value)]
        return value

    def _of_text(self, text: str, place: str) -> Any:
        if not text.startswith(("@", "%", "$")):
            return text
        text = _absolute(text, place)
        if text.startswith("%"):
            return self._once(f"{text} at {place}", lambda: self.resolve(*self._macro(text)))
        if text.startswith("$"):
            return self._of_expression(text, place)
        return self._refer(text[1:]) if REFERENCE.fullmatch(text) else text

    def _of_expression(self, text: str, place: str) -> Any:
        try:
            return evaluate(text, place, self._refer)
        except NeedsCode:
            if self._run is None:
                raise
        return self._run(place)

    def _refer(self, place: str) -> Any:
        """Return the value of an id."""
        return self._once(
            f"@{place}", lambda: self.resolve(self._written(self._values, place), place)
        )

    def _once(self, question: str, answer: Callable[[], Any]) -> Any:
        """Answer a question that must not lead to itself."""
        if question in self._asked:
            raise ConfigError(f"{question} refers to itself")
        self._asked.append(question)
        try:
            return answer()
        except RecursionError:
            raise ConfigError(f"{question} is nested too deep") from None
        finally:
            self._asked.pop()

    def _macro(self, text: str) -> tuple[Any, str]:
        """Return what is written where a macro points to, and the id there."""
        found = _FILE.fullmatch(text[1:])
        values = self._values if found is None else self._read(found[1])
        place = text[1:] if found is None else found[2] or ""
        return self._written(values, place), place

    def _written(self, values: Any, place: str) -> Any:
        """Return what is written at an id."""
        for key in place.split(_SEPARATOR) if place else ():
            if isinstance(values, str) and values.startswith("%"):
                values, _ = self._macro(_absolute(values, place))
            try:
                values = values[int(key) if isinstance(values, list) else key]
            except (LookupError, TypeError, ValueError):
                raise ConfigError(f"@{place} is referred to, and is not in the config") from None
        return values


def _absolute(text: str, place: str) -> str:
    """Return a text with ``::`` for ``#`` and with ids from the top."""
    text = text.replace("#", _SEPARATOR)
    steps = place.split(_SEPARATOR)

    def top(found: re.Match[str]) -> str:
        levels = found[2].count(_SEPARATOR)
        if levels > len(steps):
            raise ConfigError(f"{text} at {place} goes up beyond the top of the config")
        return found[1] + "".join(f"{step}{_SEPARATOR}" for step in steps[:-levels])

    return _RELATIVE.sub(top, text)
