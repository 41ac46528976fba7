"""Components below a minimum become part of their neighbours."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ._graph import Graph
from ._union import Ints, root_of


def sieved(graph: Graph, sizes: Ints, most: int) -> NDArray[np.int32]:
    """Return the label of every component once none that can be merged is below a minimum.

    The smallest component below the minimum, of equal ones that of the smallest id, takes the label
    of the neighbour it shares most sides of samples with, of equal ones that of the smallest id,
    and becomes one with all it touches that has this label; then the smallest is looked for again.
    Components without a neighbour stay. All is told from the graph, so blocks do not matter.

    GDAL's sieve differs: it merges into the neighbour of most samples, along chains of small ones,
    by the sizes that components have at the start.

    Args:
        graph: The components.
        sizes: Of every one, whole numbers.
        most: Components of at most this size are merged.
    """
    pairs = graph.borders
    ends = np.concatenate([pairs.one, pairs.other])
    order = np.argsort(ends, kind="stable")
    firsts = np.searchsorted(ends[order], np.arange(len(sizes) + 1))
    beside = np.concatenate([pairs.other, pairs.one])[order]
    sides = np.concatenate([pairs.sides, pairs.sides])[order]
    labels = graph.table.labels.copy()
    _settle(labels, sizes.copy(), most, (firsts, beside, sides))
    return labels


@compiled
def _settle(
    labels: NDArray[np.int32], sizes: Ints, most: int, neighbours: tuple[Ints, Ints, Ints]
) -> None:
    """Merge components until nothing changes. A group is called by its smallest member.

    Args:
        labels: Of every component; those after it are left there.
        sizes: Of every component; spoilt.
        most: Groups of at most this size are merged.
        neighbours: First place of every component in the lists that follow, and the end; the
            neighbours of the components, one after another; the sides shared with them.
    """
    count = len(labels)
    groups, following = np.arange(count), np.full(count, -1)  # members are chained
    tails = np.arange(count)
    shared, touched = np.full(count, -1), np.empty(count, np.int64)
    heap = [(sizes[0], 0) for _ in range(0)]  # empty, and of a known kind
    for one in range(count):
        if sizes[one] <= most:
            heappush(heap, (sizes[one], one))
    while len(heap):
        size, one = heappop(heap)
        if groups[one] != one or sizes[one] != size:
            continue  # it has grown since
        many = _share(one, groups, following, neighbours, (shared, touched))
        best = -1
        for i in range(many):
            other = touched[i]
            more = 0 if best < 0 else shared[best]
            if shared[other] > more or (shared[other] == more > 0 and other < best):
                best = other
        if best >= 0:
            label, to = labels[best], one
            for i in range(many):
                if labels[touched[i]] == label:
                    to = min(to, touched[i])
            size = sizes[one]
            for i in range(many):
                other = touched[i]
                if labels[other] == label:
                    size += sizes[other]
                    if other != to:
                        _join(other, to, groups, following, tails)
            if one != to:
                _join(one, to, groups, following, tails)
            labels[to], sizes[to] = label, size
            if size <= most:
                heappush(heap, (size, to))
        for i in range(many):
            shared[touched[i]] = -1
    for one in range(count):
        labels[one] = labels[root_of(groups, one)]


@compiled
def _join(one: int, to: int, groups: Ints, following: Ints, tails: Ints) -> None:
    """Make a group part of another."""
    groups[one] = to
    following[tails[to]] = one
    tails[to] = tails[one]


@compiled
def _share(
    one: int,
    groups: Ints,
    following: Ints,
    neighbours: tuple[Ints, Ints, Ints],
    found: tuple[Ints, Ints],
) -> int:
    """Find the groups that a group touches, and the sides it shares with them.

    Args:
        one: The group.
        groups: Of every component.
        following: The next member of its group.
        neighbours: Those of `_settle`.
        found: Filled: sides shared by group, -1 so far; the groups touched.

    Returns:
        The number of groups touched.
    """
    firsts, beside, sides = neighbours
    shared, touched = found
    many, member = 0, one
    while member >= 0:
        for i in range(firsts[member], firsts[member + 1]):
            group = root_of(groups, beside[i])
            if group == one:
                continue
            if shared[group] < 0:
                shared[group] = 0
                touched[many] = group
                many += 1
            shared[group] += sides[i]
        member = following[member]
    return many
