"""Compiled: outlines -> well-known binary, which every file wants in the end.

As OGC 06-103r4, 8.2, in the little byte order: a polygon is 1, its kind 3 and its number of rings;
a ring its number of points and they themselves; a multipolygon 1, its kind 6, its number of
polygons and they themselves. Bytes are those that shapely writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ..errors import OutputFailed

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

_POLYGON, _MULTIPOLYGON = 3, 6
#: Bytes before the rings of a polygon, or the polygons of a multipolygon; of a number; of a point.
_HEAD, _NUMBER, _POINT = 9, 4, 16
#: Bytes of one feature, and of those of a batch, that Arrow's 32 bits can tell.
_MOST = (1 << 31) - 1


@dataclass(frozen=True)
class Shapes:
    """Geometries in well-known binary.

    Args:
        data: Their bytes, one after the other.
        offsets: First byte of every one, and their number, int32.
        boxes: Extent of every one: least x, least y, largest x, largest y; (n, 4).
    """

    data: Bytes
    offsets: NDArray[np.int32]
    boxes: Floats

    def __len__(self) -> int:
        return len(self.boxes)


def shapes_of(world: Floats, rings: Ints, shells: Ints, parts: Ints | None) -> Shapes:
    """Return polygons, or multipolygons, of rings.

    Args:
        world: Points of the rings, one after the other, (n, 2).
        rings: First point of every ring, and the number of points.
        shells: First ring of every polygon, and the number of rings.
        parts: First polygon of every multipolygon, and the number of polygons; None: polygons are
            wanted.

    Raises:
        OutputFailed: There are more bytes than a file's features may have.
    """
    multi = parts is not None
    ends = np.arange(len(shells)) if parts is None else parts
    polygons, lines = shells[ends], rings[shells[ends]]
    sizes = _HEAD * np.diff(ends) + _NUMBER * np.diff(polygons) + _POINT * np.diff(lines)
    offsets = np.zeros(len(ends), np.int64)
    np.cumsum(sizes + _HEAD if multi else sizes, out=offsets[1:])
    if offsets[-1] > _MOST:
        raise OutputFailed(
            f"a feature of {int(np.diff(lines).max()):,} corners is more than files hold (2 GiB): "
            "simplify, or leave out what makes one feature of many objects"
        )
    data, boxes = np.empty(offsets[-1], np.uint8), np.empty((len(ends) - 1, 4))
    _write((world, world.reshape(-1).view(np.uint8)), (rings, shells, ends), multi, data, boxes)
    return Shapes(data, offsets.astype(np.int32), boxes)


@compiled
def to_world(corners: NDArray[Any], rings: Ints, matrix: Floats, mirrored: bool) -> Floats:
    """Return where the corners of rings lie in the world, (n, 2).

    Args:
        corners: x and y on the map.
        rings: First corner of every ring, and the number of corners.
        matrix: Of the grid, (3, 3).
        mirrored: Whether rings are turned round.
    """
    world = np.empty((len(corners), 2), np.float64)
    for ring in range(len(rings) - 1):
        low, high = rings[ring], rings[ring + 1]
        for k in range(low, high):
            x, y = float(corners[k, 0]), float(corners[k, 1])
            at = low + high - 1 - k if mirrored else k
            world[at, 0] = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
            world[at, 1] = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    return world


@compiled
def around(corners: NDArray[Any], rings: Ints, firsts: Ints, metrics: Floats, parts: int) -> Floats:
    """Return the perimeters of features.

    Args:
        corners: x and y on the map, in parts of a sample.
        rings: First corner of every ring, and the number of corners.
        firsts: First ring of every feature, and the number of rings.
        metrics: e, f and g of a step's length at every line, as of `line_metrics`.
        parts: Parts of a sample; between lines, what is halfway is the mean of both.
    """
    lengths = np.zeros(len(firsts) - 1, np.float64)
    for feature in range(len(firsts) - 1):
        for ring in range(firsts[feature], firsts[feature + 1]):
            for k in range(rings[ring], rings[ring + 1] - 1):
                one, other = int(corners[k, 1]), int(corners[k + 1, 1])
                dx = float(corners[k + 1, 0] - corners[k, 0]) / parts
                dy = float(corners[k + 1, 1] - corners[k, 1]) / parts
                e = _at(metrics, one, parts, 0) + _at(metrics, other, parts, 0)
                f = _at(metrics, one, parts, 1) + _at(metrics, other, parts, 1)
                g = _at(metrics, one, parts, 2) + _at(metrics, other, parts, 2)
                lengths[feature] += np.sqrt(e / 2 * dx * dx + f * dx * dy + g / 2 * dy * dy)
    return lengths


@compiled
def _at(metrics: Floats, place: int, parts: int, number: int) -> float:
    """Return one number of the metrics at a line, or between two."""
    line, rest = place // parts, place % parts
    if rest == 0:
        return float(metrics[line, number])
    share = rest / parts
    return float(metrics[line, number] * (1 - share) + metrics[line + 1, number] * share)


@compiled
def _head(data: Bytes, at: int, kind: int, count: int) -> int:
    """Write what a geometry begins with, and return the place behind it."""
    data[at] = 1
    return int(_number(data, _number(data, at + 1, kind), count))


@compiled
def _number(data: Bytes, at: int, value: int) -> int:
    """Write a whole number of 4 bytes, and return the place behind it."""
    for i in range(4):
        data[at + i] = (value >> (8 * i)) & 255
    return at + 4


@compiled
def _write(
    points: tuple[Floats, Bytes],
    lists: tuple[Ints, Ints, Ints],
    multi: bool,
    data: Bytes,
    boxes: Floats,
) -> None:
    """Write geometries, and their extents.

    Args:
        points: The points, and their bytes.
        lists: Rings, shells and features.
        multi: Whether features are multipolygons.
        data: Filled.
        boxes: Filled.
    """
    world, raw = points
    rings, shells, ends = lists
    at = 0
    for feature in range(len(ends) - 1):
        if multi:
            at = _head(data, at, _MULTIPOLYGON, ends[feature + 1] - ends[feature])
        left = low = np.inf
        right = high = -np.inf
        for polygon in range(ends[feature], ends[feature + 1]):
            at = _head(data, at, _POLYGON, shells[polygon + 1] - shells[polygon])
            for ring in range(shells[polygon], shells[polygon + 1]):
                first, last = rings[ring], rings[ring + 1]
                at = _number(data, at, last - first)
                for k in range(first, last):
                    left, right = min(left, world[k, 0]), max(right, world[k, 0])
                    low, high = min(low, world[k, 1]), max(high, world[k, 1])
                size = _POINT * (last - first)
                data[at : at + size] = raw[_POINT * first : _POINT * last]
                at += size
        boxes[feature, 0], boxes[feature, 1] = left, low
        boxes[feature, 2], boxes[feature, 3] = right, high
