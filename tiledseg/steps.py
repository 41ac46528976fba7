"""Steps that change a finished class map, as values, and how people write them.

A list of steps has one meaning wherever it comes from: `tiledseg.postprocess`, the commands, a
config or a model's card. Steps are done in the order of the list, each on what the one before left:

    - smooth: 2                       # radius in samples; {radius_m: 20}, {radius_mm: 3}
    - keep_largest: liver             # or a list of classes, or all
    - remove_small: {area_m2: 400, becomes: neighbour}
    - fill_holes
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from .errors import ConfigError

SizeUnit = Literal["samples", "m2", "mm3"]
LengthUnit = Literal["samples", "m", "mm"]
Becomes = Literal["background", "nodata", "neighbour"]
Classes = tuple[str | int, ...]
#: How people write a size, or a radius -> its unit.
_SIZES: dict[str, SizeUnit] = {"samples": "samples", "area_m2": "m2", "volume_mm3": "mm3"}
_RADII: dict[str, LengthUnit] = {"radius": "samples", "radius_m": "m", "radius_mm": "mm"}
#: Samples, or neighbours, beyond which a number is a slip.
_LARGEST = 1e18


@dataclass(frozen=True)
class Smooth:
    """Give every sample the most frequent class around it (a modal filter).

    Around it are the samples whose centres lie within a radius of its own, itself included. Of
    classes that are equally frequent the sample's own stays; where that is none of them, it is the
    one of the smallest id. What was not measured stays so, and counts for nothing, as does what is
    beyond the map's border.

    Args:
        radius: Above 0.
        unit: Of the radius: "samples", "m" for scenes (projected), "mm" for volumes.

    Raises:
        ConfigError: A setting is none of these.
    """

    radius: float
    unit: LengthUnit = "samples"

    def __post_init__(self) -> None:
        _require_amount("smooth: radius", self.radius)
        _require_word("smooth: unit", self.unit, ("samples", "m", "mm"))


@dataclass(frozen=True)
class KeepLargest:
    """Keep the largest component of some classes; of equal ones that of the smallest id.

    Args:
        classes: By name or id; none takes all but the background.
        becomes: What the others become: "background" or "nodata".
        together: Whether samples of these classes that touch are one component, as for an organ
            with a tumour in it; else every class keeps a component of its own.
        connectivity: Neighbours of a sample: 4 or 8 in 2-D; 6, 18 or 26 in 3-D; None takes those
            that share a side.

    Raises:
        ConfigError: A setting is none of these.
    """

    classes: Classes = ()
    becomes: Becomes = "background"
    together: bool = False
    connectivity: int | None = None

    def __post_init__(self) -> None:
        _require_word("keep largest: becomes", self.becomes, ("background", "nodata"))
        if not isinstance(self.together, bool):
            raise ConfigError(f"keep largest: together {self.together!r:.40} is not true or false")
        _require_classes("keep largest", self.classes)
        _require_connectivity("keep largest", self.connectivity)


@dataclass(frozen=True)
class RemoveSmall:
    """Remove components below a size.

    Args:
        least: Components of this size stay.
        unit: Of ``least``: "m2" (geodesic where the grid is in degrees), "mm3" or "samples".
        becomes: "background", "nodata", or "neighbour": the class of the neighbour with the longest
            shared border, smallest components first, until all that have a neighbour are of this
            size (minimum mapping unit).
        classes: Whose components are removed; none takes all but the background, which
            with "neighbour" means all.
        connectivity: As for `KeepLargest`.

    Raises:
        ConfigError: A setting is none of these.
    """

    least: float
    unit: SizeUnit = "samples"
    becomes: Becomes = "background"
    classes: Classes = ()
    connectivity: int | None = None

    def __post_init__(self) -> None:
        _require_amount("remove small: least size", self.least)
        _require_word("remove small: unit", self.unit, ("samples", "m2", "mm3"))
        words = ("background", "nodata", "neighbour")
        _require_word("remove small: becomes", self.becomes, words)
        _require_classes("remove small", self.classes)
        _require_connectivity("remove small", self.connectivity)
        if self.becomes == "neighbour" and self.classes:
            raise ConfigError(
                "small components of all classes become part of their neighbour; name no classes"
            )


@dataclass(frozen=True)
class FillHoles:
    """Give holes the class around them.

    A hole is a component of background that touches one class only, and neither the border of the
    map nor what was not measured.

    Args:
        connectivity: As for `KeepLargest`.

    Raises:
        ConfigError: It is none.
    """

    connectivity: int | None = None

    def __post_init__(self) -> None:
        _require_connectivity("fill holes", self.connectivity)


Step = Smooth | KeepLargest | RemoveSmall | FillHoles


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
        raise ConfigError(f"{name}: expected a list of steps, found {_brief(values)}")
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


def classes_of(steps: Sequence[Step]) -> Iterator[str | int]:
    """Yield the classes that steps name."""
    for step in steps:
        if isinstance(step, KeepLargest | RemoveSmall):
            yield from step.classes


# --------------------------------------------------------------------- reading


def _read_step(value: Any) -> Step:
    if isinstance(value, Step):
        return value
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, dict) or len(value) != 1:
        raise ConfigError(f"expected one of {', '.join(_READERS)}, found {_brief(value)}")
    ((name, settings),) = value.items()
    if name not in _READERS:
        raise ConfigError(f"there is no step {_brief(name)}; there are {', '.join(_READERS)}")
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
        raise ConfigError(f"give {what} as one of {', '.join(units)}, found {_brief(given)}")
    return given[found[0]], units[found[0]]


def _rest(given: Any, units: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return the settings besides an amount, classes as a tuple."""
    if not isinstance(given, dict):
        raise ConfigError(f"expected settings, found {_brief(given)}")
    known = [field.name for field in fields(kind) if field.name not in _TURNED]
    settings = {key: value for key, value in given.items() if key not in units}
    for key in settings:
        if key not in known:
            names = ", ".join((*units, *known))
            raise ConfigError(f"there is no setting {_brief(key)}; there are {names}")
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


# --------------------------------------------------------------------- what may be


def _require_amount(what: str, value: Any) -> None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not math.isfinite(value) or not 0 < value < _LARGEST:
        raise ConfigError(f"{what} {_brief(value)} is no number above 0")


def _require_word(what: str, value: Any, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ConfigError(f"{what} {_brief(value)} is none of {', '.join(words)}")


def _require_classes(what: str, classes: Any) -> None:
    for wanted in classes if isinstance(classes, tuple) else (classes,):
        if isinstance(wanted, bool) or not isinstance(wanted, str | int):
            raise ConfigError(f"{what}: {_brief(wanted)} is no name and no id of a class")


def _require_connectivity(what: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or value not in (4, 8, 6, 18, 26)):
        raise ConfigError(f"{what}: connectivity {_brief(value)} is none of 4, 8, 6, 18, 26")


def _brief(value: Any) -> str:
    text: Iterator[str] = (c if c.isprintable() else " " for c in repr(value)[:80])
    return "".join(text)
