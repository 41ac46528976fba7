"""Compiled: where a component's heights have peaks that stand apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ..components import root_of

Ints = NDArray[np.int64]


@compiled
def mark_peaks(
    heights: NDArray[np.float64],
    order: Ints,
    steps: Ints,
    depth: float,
    peaks: NDArray[np.bool_],
) -> None:
    """Mark the peaks that rise by more than a depth above every pass to a higher one.

    Samples appear from the highest down. Where one connects two groups, it is their pass, and the
    lower peak ends there; of equal peaks that which comes later.

    Args:
        heights: Of the samples of a box, raveled, with a border that is not in the component.
        order: The component's samples by falling height, of equal ones by place.
        steps: From a sample to each neighbour, raveled.
        depth: How far a peak rises.
        peaks: Set at the peaks; False so far, raveled.
    """
    parents = np.full(heights.shape[0], -1, np.int64)
    for place in order:
        parents[place] = place
        for step in steps:
            other = place + step
            if parents[other] < 0:
                continue
            one, two = root_of(parents, place), root_of(parents, other)
            if one == two:
                continue
            if heights[one] > heights[two] or (heights[one] == heights[two] and one < two):
                high, low = one, two
            else:
                high, low = two, one
            if heights[place] < heights[low] - depth:
                peaks[low] = True
            parents[low] = high
    peaks[order[0]] = True
