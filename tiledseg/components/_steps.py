"""Steps that change the labels of a finished class map, component by component."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..labels import ClassSchema
from ._graph import Graph
from ._pieces import NODATA
from ._sieve import sieved

Unit = Literal["samples", "m2", "mm3"]
Becomes = Literal["background", "nodata", "neighbour"]
Classes = tuple[str | int, ...]
#: Sizes this close to a limit, relative, reach it: spacings are decimal fractions, rounded.
_NEAR = 1e-9


@dataclass(frozen=True)
class Legend:
    """What a step may ask of the map.

    Args:
        schema: Its classes.
        unit: What amounts are told in: "m2", "mm3", or "samples" where it has no such size.
        name: What to call the map in a message.
    """

    schema: ClassSchema
    unit: Unit
    name: str

    def ids(self, classes: Classes) -> NDArray[np.int64]:
        """Return the ids of classes by name or id; of none, those of all but the background.

        Raises:
            ConfigError: There is no such class.
        """
        known = {c.name: c.id for c in self.schema.unique}
        if not classes:
            return np.array([i for i in known.values() if i != self.schema.background], np.int64)
        found = []
        for wanted in classes:
            by_id = str(wanted).isdecimal() and len(str(wanted)) < 6 and wanted not in known
            place = int(wanted) if by_id else known.get(str(wanted))
            if place not in known.values():
                raise ConfigError(
                    f"{self.name} has no class {str(wanted)!r:.60}; it has {', '.join(known)[:400]}"
                )
            found.append(place)
        return np.array(found, np.int64)

    def rest(self, becomes: Becomes) -> int:
        """Return the label of what is removed.

        Raises:
            ConfigError: It is to become background, and the map has none.
        """
        if becomes == "nodata":
            return NODATA
        if self.schema.background is None:
            raise ConfigError(
                f"{self.name} has no background that removed objects could become; let them become "
                "nodata, or small ones part of their neighbour"
            )
        return self.schema.background


@dataclass(frozen=True)
class KeepLargest:
    """Keep the largest component of some classes; of equal ones that of the smallest id.

    Args:
        classes: By name or id; none takes all but the background.
        becomes: What the others become: "background" or "nodata".
    """

    classes: Classes = ()
    becomes: Becomes = "background"

    def __post_init__(self) -> None:
        if self.becomes not in ("background", "nodata"):
            raise ConfigError(f"keep largest: {self.becomes!r:.40} is none of background, nodata")

    def apply(self, graph: Graph, legend: Legend) -> Graph:
        """Return the graph without the other components."""
        table, wanted = graph.table, np.isin(graph.table.labels, legend.ids(self.classes))
        order = np.lexsort((-table.amounts, table.labels))  # stable: ids ascend among equals
        _, first = np.unique(table.labels[order], return_index=True)
        wanted[order[first]] = False
        return graph.relabelled(_with(table.labels, wanted, legend.rest(self.becomes)))


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

    Raises:
        ConfigError: A setting is none of these.
    """

    least: float
    unit: Unit = "samples"
    becomes: Becomes = "background"
    classes: Classes = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.least) and self.least > 0):
            raise ConfigError(f"least size {self.least!r:.40} is not above 0")
        if self.unit not in ("samples", "m2", "mm3"):
            raise ConfigError(f"unit {self.unit!r:.40} is none of samples, m2, mm3")
        if self.becomes not in ("background", "nodata", "neighbour"):
            raise ConfigError(
                f"remove small: {self.becomes!r:.40} is none of background, nodata, neighbour"
            )
        if self.becomes == "neighbour" and self.classes:
            raise ConfigError(
                "small components of all classes become part of their neighbour; name no classes"
            )

    def apply(self, graph: Graph, legend: Legend) -> Graph:
        """Return the graph without small components."""
        if self.unit not in ("samples", legend.unit):
            raise ConfigError(
                f"{legend.name} has no sizes in {self.unit}, its sizes are in {legend.unit}; give "
                f"the least size in {'samples' if legend.unit == 'samples' else legend.unit}"
            )
        table = graph.table
        sizes, unit = (table.sizes, 1.0) if self.unit == "samples" else (table.amounts, graph.unit)
        most = math.ceil(self.least * (1 - _NEAR) / unit) - 1
        if self.becomes == "neighbour":
            return graph.relabelled(sieved(graph, sizes, most))
        lost = np.isin(table.labels, legend.ids(self.classes)) & (sizes <= most)
        return graph.relabelled(_with(table.labels, lost, legend.rest(self.becomes)))


@dataclass(frozen=True)
class FillHoles:
    """Give holes the class around them.

    A hole is a component of background that touches one class only, and neither the border of the
    map nor what was not measured.
    """

    def apply(self, graph: Graph, legend: Legend) -> Graph:
        """Return the graph without holes."""
        table, pairs = graph.table, graph.borders
        low = np.full(len(table), np.iinfo(np.int32).max, np.int32)
        high = np.full(len(table), NODATA, np.int32)
        for one, other in ((pairs.one, pairs.other), (pairs.other, pairs.one)):
            np.minimum.at(low, one, table.labels[other])
            np.maximum.at(high, one, table.labels[other])
        holes = (table.labels == legend.rest("background")) & ~table.open & (low == high)
        return graph.relabelled(np.where(holes, low, table.labels).astype(np.int32))


Step = KeepLargest | RemoveSmall | FillHoles


def _with(labels: NDArray[np.int32], chosen: NDArray[np.bool_], label: int) -> NDArray[np.int32]:
    changed = labels.copy()
    changed[chosen] = label
    return changed
