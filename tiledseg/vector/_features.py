"""Which components are written, and which of them are one feature."""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..arcs import Arcs
from ..components import Components, enough, groups_of
from ..errors import ConfigError

Ints = NDArray[np.int64]
Method = Literal["visvalingam", "douglas-peucker"]


@dataclass(frozen=True)
class PolygonSpec:
    """Which polygons are wanted.

    Args:
        classes: Names or ids of classes; none takes all but the background.
        connectivity: 4, or 8: samples that touch at corners are one object too, a multipolygon.
        min_area: Objects below are left out, in m2 (world units where there is no CRS).
        dissolve: Whether all objects of a class are one multipolygon.
        smooth: Whether borders lose the steps that samples have, by half a sample at most, once
            for both neighbours; see `tiledseg.arcs.smooth`. They are simplified after that.
        simplify: Tolerance, in units of the map's CRS; 0 keeps every corner. Borders are simplified
            once for both neighbours, so they leave no gaps and no overlaps.
        regularize: Names or ids of classes whose outlines get right angles, in a direction of each
            object's own, after all else; see `tiledseg.arcs.regularize`. An object whose outline
            would have an intersection over union below 0.8 with what it was, or that would come
            across another, stays as it was.
        method: "visvalingam" leaves out corners whose triangle with their neighbours is smaller
            than the tolerance squared; "douglas-peucker" those that lie no farther than the
            tolerance from the line that is left.

    Raises:
        ConfigError: A setting is none of these.
    """

    classes: tuple[str | int, ...] | None = ()
    connectivity: int = 4
    min_area: float = 0.0
    dissolve: bool = False
    smooth: bool = False
    simplify: float = 0.0
    method: Method = "visvalingam"
    regularize: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        for name, kinds in (("classes", Sequence | Set | None), ("regularize", Sequence | Set)):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, kinds):
                raise ConfigError(f"{name} {given!r:.40} are no list of names and ids")
        for name in ("dissolve", "smooth"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} {getattr(self, name)!r:.40} is not true or false")
        if self.connectivity not in (4, 8):
            raise ConfigError(
                f"connectivity {self.connectivity!r:.40} does not exist for polygons; take 4, 8"
            )
        if not _is_amount(self.min_area):
            raise ConfigError(f"least area {self.min_area!r:.40} is not 0 or more")
        if not _is_amount(self.simplify):
            raise ConfigError(f"tolerance {self.simplify!r:.40} is not 0 or more")
        if self.method not in get_args(Method):
            raise ConfigError(
                f"method {self.method!r:.40} does not exist; take {', '.join(get_args(Method))}"
            )


def _is_amount(value: Any) -> bool:
    """Whether a value is a number, 0 or more, that a float can hold."""
    plain = isinstance(value, Real) and not isinstance(value, bool)
    return plain and bool(0 <= value <= sys.float_info.max)


@dataclass(frozen=True)
class Features:
    """What is written, one feature a row.

    Args:
        faces: 4-connected components, feature by feature.
        firsts: First of every feature, and their number.
        dissolved: Whether a feature is a class, else an object.
    """

    faces: Ints
    firsts: Ints
    dissolved: bool

    def __len__(self) -> int:
        return len(self.firsts) - 1

    def summed(self, values: Ints) -> Ints:
        """Return the sum of every feature's components' values."""
        if not len(self):
            return np.zeros(0, np.int64)
        sums: Ints = np.add.reduceat(values[self.faces], self.firsts[:-1])
        return sums


def joined_at_corners(labels: NDArray[np.int32], arcs: Arcs) -> Ints:
    """Return the first component of every component's object, where corners join.

    Args:
        labels: Of every component.
        arcs: Around them.
    """
    one, other = (side.astype(np.int64) for side in arcs.across_corners())
    same = labels[one] == labels[other]
    count, groups = groups_of(len(labels), one[same], other[same])
    first = np.full(count, len(labels), np.int64)
    np.minimum.at(first, groups, np.arange(len(labels)))
    return first[groups]


def choose(
    found: Components, objects: Ints, wanted: NDArray[np.bool_], spec: PolygonSpec
) -> Features:
    """Choose what is written.

    Args:
        found: Components.
        objects: First component of every component's object.
        wanted: Whether a component's class is wanted.
        spec: What else is.
    """
    amounts = np.zeros(len(objects), np.int64)
    np.add.at(amounts, objects, found.table.amounts)
    large = amounts[objects] >= enough(spec.min_area, found.unit)
    chosen = np.flatnonzero(wanted & large)
    groups = found.table.labels[chosen] if spec.dissolve else objects[chosen]
    _, places = np.unique(groups, return_inverse=True)
    order = np.argsort(places, kind="stable")
    count = int(places.max(initial=-1)) + 1
    firsts = np.searchsorted(places[order], np.arange(count + 1))
    return Features(chosen[order], firsts, spec.dissolve)
