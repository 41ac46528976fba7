"""Components as a graph, in which labels change and neighbours become one.

What a step makes of a class map can be told from the components and from which of them touch: those
that get one label and touch become one. So any number of steps needs the map twice, once to find
the components and once to write.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ._find import Components
from ._pieces import NODATA, Touching
from ._table import Table
from ._union import Ints, groups_of, summed_pairs


@dataclass(frozen=True)
class Graph:
    """The components of a class map as it is after some steps.

    Args:
        table: What is known of every one, by ascending key.
        borders: Pairs that touch, and the sides of samples that they share.
        unit: What an amount of 1 in the table stands for.
        place: Place in the table of every component of the map as it was, -1 for none.
    """

    table: Table
    borders: Touching
    unit: float
    place: Ints

    @classmethod
    def of(cls, found: Components) -> Graph:
        """Return the graph of components that were found with their borders."""
        return cls(found.table, found.borders, found.unit, np.arange(len(found.table)))

    def labels(self) -> NDArray[np.int32]:
        """Return the label now of every component of the map as it was."""
        return np.append(self.table.labels, np.int32(NODATA))[self.place]

    def relabelled(self, labels: NDArray[np.int32]) -> Graph:
        """Return the graph of the map with other labels.

        Args:
            labels: Of every component; `NODATA` takes it away.
        """
        pairs = self.borders
        one, other = labels[pairs.one], labels[pairs.other]
        gone = (one == NODATA) | (other == NODATA)
        touched = self.table.open.copy()
        touched[pairs.one[gone]] = touched[pairs.other[gone]] = True
        same = one == other
        count, groups = groups_of(len(labels), pairs.one[same], pairs.other[same])
        table, to = replace(self.table, labels=labels, open=touched).merged(count, groups)
        kept = table.labels != NODATA
        to = np.where(kept[to], (np.cumsum(kept) - 1)[to], -1)
        rest = pairs.where(~same & ~gone)
        borders = Touching(*summed_pairs(int(kept.sum()), to[rest.one], to[rest.other], rest.sides))
        return Graph(table.where(kept), borders, self.unit, np.append(to, -1)[self.place])
