"""What belongs together, of pairs that do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..compiled import compiled

Ints = NDArray[np.int64]


@compiled
def root_of(parents: NDArray[Any], one: int) -> Any:
    """Return the thing that stands for all that belong together with one.

    Args:
        parents: A thing that belongs with every thing, which stands for itself where it is its own;
            the way there is shortened.
        one: The thing.
    """
    while parents[one] != one:
        parents[one] = parents[parents[one]]
        one = parents[one]
    return one


def groups_of(count: int, one: Ints, other: Ints) -> tuple[int, Ints]:
    """Return the number of groups, and the group of each of ``count`` things.

    Args:
        count: Things, below 2^31.
        one: Of every pair that belongs together, the one.
        other: And the other.
    """
    ones = np.ones(len(one), np.bool_)
    graph = coo_array((ones, (one, other)), shape=(count, count))
    found, groups = connected_components(graph, directed=False)
    return int(found), groups.astype(np.int64)


def summed_pairs(count: int, one: Ints, other: Ints, amounts: Ints) -> tuple[Ints, Ints, Ints]:
    """Return every pair of things once, the smaller first, in order, with its amounts' sum.

    Args:
        count: Things; their squares must fit 63 bits.
        one: Of every pair the one thing.
        other: And the other.
        amounts: What is summed, whole numbers.
    """
    codes = np.minimum(one, other) * count + np.maximum(one, other)
    codes, at = np.unique(codes, return_inverse=True)
    sums = np.zeros(len(codes), np.int64)
    np.add.at(sums, at, amounts)
    return codes // max(count, 1), codes % max(count, 1), sums
