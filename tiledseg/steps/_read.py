"""How people write steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any

from ..errors import ConfigError
from ._steps import FillHoles, KeepLargest, LengthUnit, RemoveSmall, SizeUnit, Smooth, Step, brief

#: How people write a size, or a radius -> its unit.
_SIZES: dict[str, SizeUnit] = {"samples": "samples", "area_m2": "m2", "volume_mm3": "mm3"}
_RADII: dict[str, LengthUnit] = {"radius": "samples", "radius_m": "m", "radius_mm": "mm"}


def read_steps(values: Any, name: str = "postprocess") -> tuple[Step, ...]:
    """Return the steps of plain values, as people write them in a config.

    Args:
        values: A list, of which every entry is a step's name, a step's name with its settings, or a
            step.
        name: What to call the list in messages.

    Raises:
        ConfigError: There is no such step or setting, or it is wrong.
    """
    if isinstance(values, str | dict) or not isinstance(values, Sequence):
        raise ConfigError(f"{name}: expected a list of steps, found {brief(values)}")
    steps = []
    for place, value in enumerate(values, 1):
        try:
            steps.append(_read_step(value))
        except ConfigError as error:
            raise ConfigError(f"{name}, step {place}: {error}") from None
    return tuple(steps)


def plain_steps(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return plain values that `read_steps` turns back into the steps."""
    return [_plain(step) for step in steps]


def _read_step(value: Any) -> Step:
    if isinstance(value, Step):
        return value
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, dict) or len(value) != 1:
        raise ConfigError(f"expected one of {', '.join(_READERS)}, found {brief(value)}")
    ((name, settings),) = value.items()
    if name not in _READERS:
        raise ConfigError(f"there is no step {brief(name)}; there are {', '.join(_READERS)}")
    try:
        return _READERS[name](settings)
    except ConfigError as error:
        told, words = str(error), name.replace("_", " ")
        raise ConfigError(told if told.startswith(words) else f"{name}: {told}") from None


def _smooth(settings: Any) -> Smooth:
    given = settings if isinstance(settings, dict) else {"radius": settings}
    radius, unit = _amount(given, _RADII, "a radius")
    return Smooth(radius, unit, **_rest(given, _RADII, Smooth))


def _keep_largest(settings: Any) -> KeepLargest:
    given = settings if isinstance(settings, dict) else {"classes": settings}
    return KeepLargest(**_rest(given, {}, KeepLargest))


def _remove_small(settings: Any) -> RemoveSmall:
    given = settings if isinstance(settings, dict) else {"samples": settings}
    least, unit = _amount(given, _SIZES, "a least size")
    return RemoveSmall(least, unit, **_rest(given, _SIZES, RemoveSmall))


def _fill_holes(settings: Any) -> FillHoles:
    given = {} if settings is None or settings is True else settings
    return FillHoles(**_rest(given, {}, FillHoles))


_READERS: dict[str, Callable[[Any], Step]] = {
    "smooth": _smooth,
    "keep_largest": _keep_largest,
    "remove_small": _remove_small,
    "fill_holes": _fill_holes,
}
_NAMES: dict[type, str] = {
    Smooth: "smooth",
    KeepLargest: "keep_largest",
    RemoveSmall: "remove_small",
    FillHoles: "fill_holes",
}
#: Settings that are written as one, like ``area_m2: 400``.
_TURNED = {"least", "radius", "unit"}


def _amount(given: dict[str, Any], units: dict[str, Any], what: str) -> tuple[Any, Any]:
    found = [key for key in units if key in given]
    if len(found) != 1:
        raise ConfigError(f"give {what} as one of {', '.join(units)}, found {brief(given)}")
    return given[found[0]], units[found[0]]


def _rest(given: Any, units: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return the settings besides an amount, classes as a tuple."""
    if not isinstance(given, dict):
        raise ConfigError(f"expected settings, found {brief(given)}")
    known = [field.name for field in fields(kind) if field.name not in _TURNED]
    settings = {key: value for key, value in given.items() if key not in units}
    for key in settings:
        if key not in known:
            names = ", ".join((*units, *known))
            raise ConfigError(f"there is no setting {brief(key)}; there are {names}")
    if "classes" in settings:
        classes = settings["classes"]
        many = classes if isinstance(classes, list | tuple) else (classes,)
        settings["classes"] = () if tuple(many) in ((None,), ("all",)) else tuple(many)
    return settings


def _plain(step: Step) -> dict[str, Any]:
    name, values = _NAMES[type(step)], asdict(step)
    defaults = {field.name: field.default for field in fields(step)}
    settings = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if key not in _TURNED and value != defaults[key]
    }
    for key, units in (("least", _SIZES), ("radius", _RADII)):
        if key in values:
            word = next(word for word, unit in units.items() if unit == values["unit"])
            settings = {word: values[key], **settings}
    return {name: settings}
