"""Compiled: which corners of an arc stay, by Visvalingam and Whyatt, or by Douglas and Peucker.

Both ends stay always; an arc that ends where it starts keeps two corners more, so that it is a
triangle at least. Coordinates are whole numbers, so areas are exact and nothing depends on where in
the map an arc lies.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ._spill import Ints, Places

Mask = NDArray[np.bool_]


@compiled
def _twice(line: Places, i: int, k: int, j: int) -> int:
    """Return twice the area of a triangle of three corners."""
    ax, ay = np.int64(line[k, 0]) - line[i, 0], np.int64(line[k, 1]) - line[i, 1]
    bx, by = np.int64(line[j, 0]) - line[i, 0], np.int64(line[j, 1]) - line[i, 1]
    return int(abs(ax * by - ay * bx))


@compiled
def by_area(line: Places, least: float, keep: Mask) -> None:
    """Leave out the corner of the smallest triangle, again and again (Visvalingam and Whyatt 1993).

    Args:
        line: The arc's corners, (n, 2).
        least: Twice the area of triangles, in samples, that stay.
        keep: Filled, (n,).
    """
    n = len(line)
    keep[:] = True
    closed = line[0, 0] == line[n - 1, 0] and line[0, 1] == line[n - 1, 1]
    spare = n - 2 - (2 if closed else 0)
    if spare <= 0:
        return
    before, after = np.arange(-1, n - 1), np.arange(1, n + 1)
    areas = np.zeros(n, np.int64)
    heap = [(0, 0) for _ in range(n - 2)]
    for k in range(1, n - 1):
        areas[k] = _twice(line, k - 1, k, k + 1)
        heap[k - 1] = (areas[k], k)
    heapify(heap)
    while spare > 0 and len(heap) > 0:
        area, k = heappop(heap)
        if not keep[k] or area != areas[k]:
            continue  # it has changed since
        if area >= least:
            break
        keep[k] = False
        spare -= 1
        i, j = before[k], after[k]
        after[i], before[j] = j, i
        for m in (i, j):
            if 0 < m < n - 1:
                areas[m] = _twice(line, before[m], m, after[m])
                heappush(heap, (areas[m], m))


@compiled
def _apart(line: Places, metric: tuple[float, float, float], i: int, k: int, j: int) -> float:
    """Return the squared distance of a corner from the straight line between two, in the world."""
    e, f, g = metric
    ax, ay = float(line[k, 0] - line[i, 0]), float(line[k, 1] - line[i, 1])
    bx, by = float(line[j, 0] - line[i, 0]), float(line[j, 1] - line[i, 1])
    long = e * bx * bx + 2 * f * bx * by + g * by * by
    along = e * ax * bx + f * (ax * by + ay * bx) + g * ay * by
    part = min(max(along / long, 0.0), 1.0) if long > 0 else 0.0
    ax, ay = ax - part * bx, ay - part * by
    return e * ax * ax + 2 * f * ax * ay + g * ay * ay


@compiled
def _farthest(
    line: Places, metric: tuple[float, float, float], i: int, j: int
) -> tuple[int, float]:
    """Return the first of the corners between two that is farthest from their line, and how far."""
    place, most = i, -1.0
    for k in range(i + 1, j):
        apart = _apart(line, metric, i, k, j)
        if apart > most:
            place, most = k, apart
    return place, most


@compiled
def by_distance(line: Places, metric: tuple[float, float, float], most: float, keep: Mask) -> None:
    """Keep the corner farthest from the line between two, again and again (Douglas, Peucker 1973).

    Args:
        line: The arc's corners, (n, 2).
        metric: e, f and g of a step's squared length in the world, e dx^2 + 2 f dx dy + g dy^2.
        most: Squared distance in the world of what may be left out.
        keep: Filled, (n,).
    """
    n = len(line)
    keep[:] = False
    keep[0] = keep[n - 1] = True
    left = [(0, n - 1)]
    if line[0, 0] == line[n - 1, 0] and line[0, 1] == line[n - 1, 1]:
        far, _ = _farthest(line, metric, 0, n - 1)
        one, apart = _farthest(line, metric, 0, far)
        other, beyond = _farthest(line, metric, far, n - 1)
        keep[far] = True
        keep[one if apart >= beyond else other] = True
        left = [(0, far), (far, n - 1)]
    while len(left) > 0:
        i, j = left.pop()
        if j - i < 2:
            continue
        k, apart = _farthest(line, metric, i, j)
        if apart <= most:
            continue
        keep[k] = True
        left.append((i, k))
        left.append((k, j))


@compiled
def thinned(
    coords: Places,
    firsts: Ints,
    metric: tuple[float, float, float],
    limits: tuple[float, float],
    keep: Mask,
) -> None:
    """Choose the corners that stay in every arc of some.

    Args:
        coords: Their corners, one arc after the other.
        firsts: First of every arc, and the number of corners.
        metric: As for `by_distance`.
        limits: As for `by_area` and `by_distance`; the one that is below 0 is not used.
        keep: Filled.
    """
    for arc in range(len(firsts) - 1):
        low, high = firsts[arc], firsts[arc + 1]
        if high - low < 2:
            keep[low:high] = True
        elif limits[0] >= 0:
            by_area(coords[low:high], limits[0], keep[low:high])
        else:
            by_distance(coords[low:high], metric, limits[1], keep[low:high])
