"""Components below a minimum become part of their neighbours."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from ._graph import Graph
from ._union import Ints


def sieved(graph: Graph, small: Ints, most: int) -> NDArray[np.int32]:
    """Return the label of every component once none that can be merged is below a minimum.

    The smallest component below the minimum, of equal ones that of the smallest id, takes the label
    of the neighbour it shares most sides of samples with, of equal ones that of the smallest id,
    and becomes one with all it touches that has this label; then the smallest is looked for again.
    Components without a neighbour stay. All is told from the graph, so blocks do not matter.

    GDAL's sieve differs: it merges into the neighbour of most samples, along chains of small ones,
    by the sizes that components have at the start.

    Args:
        graph: The components.
        small: Size of every one, whole numbers.
        most: Components of at most this size are merged.
    """
    merging = _Merging(graph, small.tolist(), most)
    merging.settle()
    return np.array([merging.labels[merging.root(i)] for i in range(len(small))], np.int32)


class _Merging:
    """Groups of components; a group is called by its smallest member."""

    def __init__(self, graph: Graph, sizes: list[int], most: int) -> None:
        pairs, count = graph.borders, len(sizes)
        ends = np.concatenate([pairs.one, pairs.other])
        order = np.argsort(ends, kind="stable")
        self._ends = np.searchsorted(ends[order], np.arange(count + 1))
        self._next = np.concatenate([pairs.other, pairs.one])[order]
        self._sides = np.concatenate([pairs.sides, pairs.sides])[order]
        self.labels: list[int] = graph.table.labels.tolist()
        self._sizes, self._most = sizes, most
        self._parent = list(range(count))
        self._members: dict[int, list[int]] = {}  # of groups that are small still

    def root(self, one: int) -> int:
        """Return the group of a component."""
        parent = self._parent
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    def settle(self) -> None:
        """Merge until nothing changes."""
        heap = [(size, i) for i, size in enumerate(self._sizes) if size <= self._most]
        heapify(heap)
        while heap:
            size, one = heappop(heap)
            if self._parent[one] != one or self._sizes[one] != size:
                continue  # it has grown since
            grown = self._merge(one)
            if grown is not None and self._sizes[grown] <= self._most:
                heappush(heap, (self._sizes[grown], grown))

    def _merge(self, one: int) -> int | None:
        """Merge a group into a neighbour; return the group it is now, or None without one."""
        shared = self._shared(one)
        sides, least = max(((s, -r) for r, s in shared.items()), default=(0, 0))
        if sides == 0:
            return None
        label = self.labels[-least]
        united = [one, *(r for r in shared if self.labels[r] == label)]
        to, size = min(united), sum(self._sizes[r] for r in united)
        lists = [self._members.pop(r, [r]) for r in united]
        if size <= self._most:
            self._members[to] = [member for some in lists for member in some]
        for r in united:
            self._parent[r] = to
        self.labels[to], self._sizes[to] = label, size
        return to

    def _shared(self, one: int) -> dict[int, int]:
        """Return neighbouring groups -> sides shared; 0 for those touched at corners only."""
        shared: dict[int, int] = {}
        for member in self._members.get(one, [one]):
            part = slice(self._ends[member], self._ends[member + 1])
            for r, s in zip(self._next[part].tolist(), self._sides[part].tolist(), strict=True):
                group = self.root(r)
                if group != one:
                    shared[group] = shared.get(group, 0) + s
        return shared
