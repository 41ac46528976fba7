"""The samples that polygons cover any part of, exactly, box by box.

GDAL's own "all touched" depends, at corners and where edges meet borders of samples, on the box
that it burns. Here edges are followed from end to end, so it does not; an edge that runs along a
border of samples enters none of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..box import Box

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Edges that are followed together.
_EDGES = 1 << 12
#: Where an edge crosses from one row to the next is rounded to this part of a sample, as vertices
#: are: an edge through the corner of four samples enters two of them only.
_PARTS = 2.0**20


def raise_touched(ranks: NDArray[np.int32], polygons: NDArray[Any], box: Box) -> None:
    """Bring every sample that outlines pass through to the rank of the last such polygon.

    Args:
        ranks: Rank of the last polygon that each sample's centre lies in, 0 for none; (y, x).
        polygons: Those with ranks 1, 2 ..., in (x, y) indices of the image's samples.
        box: Where the samples lie.
    """
    rings, owners = shapely.get_rings(polygons, return_index=True)
    points, of_ring = shapely.get_coordinates(rings, return_index=True)
    joined = of_ring[1:] == of_ring[:-1]
    starts, ends = points[:-1][joined], points[1:][joined]
    held = owners[of_ring[:-1][joined]] + 1
    near = _near(starts, ends, box)
    starts, ends, held = starts[near], ends[near], held[near]
    flat = ranks.reshape(-1)
    for first in range(0, len(held), _EDGES):
        some = slice(first, first + _EDGES)
        cells, edges = _entered(starts[some], ends[some], box)
        np.maximum.at(flat, cells, held[some][edges].astype(np.int32))


def _near(starts: Floats, ends: Floats, box: Box) -> NDArray[np.bool_]:
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    first, last = np.array(box.start[::-1]), np.array(box.stop[::-1])
    return np.asarray(((low < last) & (high > first)).all(axis=1))


def _entered(starts: Floats, ends: Floats, box: Box) -> tuple[Ints, Ints]:
    """Return the samples of a box, raveled, whose inside edges pass through, and the edges."""
    downwards = (starts[:, 1] <= ends[:, 1])[:, np.newaxis]
    upper, lower = np.where(downwards, starts, ends), np.where(downwards, ends, starts)
    top, bottom = upper[:, 1], lower[:, 1]
    # Rows whose inside the edge passes through; one that lies on a border between two: none.
    rows, edges = _runs(
        np.maximum(np.floor(top), box.start[0]),
        np.minimum(_end(top, bottom), box.stop[0]),
    )
    x0, y0, x1, y1 = upper[edges, 0], top[edges], lower[edges, 0], bottom[edges]
    slope = np.divide(x1 - x0, y1 - y0, out=np.zeros(len(rows)), where=y1 > y0)
    one = np.where(rows <= y0, x0, _rounded(x0 + slope * (rows - y0)))
    other = np.where(rows + 1 >= y1, x1, _rounded(x0 + slope * (rows + 1 - y0)))
    west, east = np.minimum(one, other), np.maximum(one, other)
    columns, runs = _runs(
        np.maximum(np.floor(west), box.start[1]), np.minimum(_end(west, east), box.stop[1])
    )
    width = box.shape[1]
    cells = (rows[runs] - box.start[0]) * width + columns - box.start[1]
    return cells.astype(np.int64), edges[runs]


def _end(low: Floats, high: Floats) -> Floats:
    """Return the end of the samples whose inside there is some of, or the place, from low to high.

    A place on the border between two samples is inside of none.
    """
    return np.asarray(np.where(low == high, np.floor(low) + (low % 1 > 0), np.ceil(high)))


def _rounded(values: Floats) -> Floats:
    return np.asarray(np.round(values * _PARTS) / _PARTS)


def _runs(first: Floats, end: Floats) -> tuple[Floats, Ints]:
    """Return the whole numbers from ``first`` to before ``end`` of every run, and their runs."""
    counts = np.maximum(end - first, 0).astype(np.int64)
    runs = np.repeat(np.arange(len(counts)), counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    return first[runs] + (np.arange(len(runs)) - before), runs
