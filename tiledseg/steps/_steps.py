"""The steps as values, checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError

SizeUnit = Literal["samples", "m2", "mm3"]
LengthUnit = Literal["samples", "m", "mm"]
Becomes = Literal["background", "nodata", "neighbour"]
Classes = tuple[str | int, ...]
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


def classes_of(steps: Sequence[Step]) -> Iterator[str | int]:
    """Yield the classes that steps name."""
    for step in steps:
        if isinstance(step, KeepLargest | RemoveSmall):
            yield from step.classes


def _require_amount(what: str, value: Any) -> None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not 0 < value < _LARGEST:
        raise ConfigError(f"{what} {brief(value)} is no number above 0")


def _require_word(what: str, value: Any, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ConfigError(f"{what} {brief(value)} is none of {', '.join(words)}")


def _require_classes(what: str, classes: Any) -> None:
    if not isinstance(classes, tuple):
        raise ConfigError(f"{what}: classes are a tuple of names and ids, found {brief(classes)}")
    for wanted in classes:
        if isinstance(wanted, bool) or not isinstance(wanted, str | int):
            raise ConfigError(f"{what}: {brief(wanted)} is no name and no id of a class")


def _require_connectivity(what: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or value not in (4, 8, 6, 18, 26)):
        raise ConfigError(f"{what}: connectivity {brief(value)} is none of 4, 8, 6, 18, 26")


def brief(value: Any) -> str:
    """Return a value as a message shows it, one line of at most 80 letters."""
    try:
        text = repr(value)[:80]
    except ValueError:
        return "a number of thousands of digits"
    return "".join(c if c.isprintable() else " " for c in text)
