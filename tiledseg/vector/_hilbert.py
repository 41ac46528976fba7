"""Features in the order of a curve that keeps what is near together (Hilbert 1891)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..components import Table
from ._features import Features

Ints = NDArray[np.int64]


def hilbert(x: Ints, y: Ints, bits: int) -> Ints:
    """Return the place of points along a Hilbert curve through a square of 2^bits a side.

    Bit by bit, the quarter that a point lies in is told, and turned so that the curve begins and
    ends in it where it does in the whole.

    Args:
        x: 0 to 2^bits - 1, (n,).
        y: Likewise.
        bits: At most 31.

    >>> hilbert(np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1]), 1).tolist()
    [0, 3, 2, 1]
    """
    x, y, place = x.copy(), y.copy(), np.zeros(len(x), np.int64)
    for level in range(bits - 1, -1, -1):
        side = np.int64(1) << level
        right, low = (x & side) > 0, (y & side) > 0
        place += side * side * ((3 * right) ^ low)
        x, y = x & (side - 1), y & (side - 1)
        turned = right & ~low
        x[turned], y[turned] = side - 1 - x[turned], side - 1 - y[turned]
        x, y = np.where(low, x, y), np.where(low, y, x)
    return place


def along_curve(features: Features, table: Table) -> Features:
    """Return features by where the middle of their box lies on a Hilbert curve through the map.

    Boxes are those of samples, so what is left out of outlines changes nothing. Features of one
    place stay in their order. No geometry is looked at.

    Args:
        features: The features.
        table: Of all components.
    """
    if not len(features):
        return features
    firsts = features.firsts[:-1]
    low = np.minimum.reduceat(table.low[features.faces], firsts)
    high = np.maximum.reduceat(table.high[features.faces], firsts)
    y, x = (low + high).T  # twice the middle, in whole numbers
    bits = int(table.high.max() * 2).bit_length()
    order = np.argsort(hilbert(x, y, bits), kind="stable")
    counts = np.diff(features.firsts)[order]
    ends = np.cumsum(counts)
    steps = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    faces = features.faces[np.repeat(firsts[order], counts) + steps]
    return Features(faces, np.concatenate([[0], ends]), features.dissolved)
