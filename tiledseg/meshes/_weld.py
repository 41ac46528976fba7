"""Cubes of a surface -> a mesh whose triangles share their vertices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from ._mesh import Mesh
from ._table import cube_table

Ints = NDArray[np.int64]
#: Cubes that are looked at together.
_CHUNK = 1 << 16


def weld(codes: Ints, grid: Grid) -> Mesh:
    """Return the mesh of a surface, in world coordinates, faces looking outwards.

    Every vertex is a whole number of half voxels from the volume's corner, so it has a number, and
    triangles of neighbouring cubes share it exactly.

    Args:
        codes: The surface's cubes as `crossed` numbers them, ascending.
        grid: Of the volume.
    """
    cubes = np.array(grid.shape) + 1
    sides = 2 * cubes + 1  # places of vertices along every axis
    places = np.unique(np.concatenate([np.zeros(0, np.int64), *_distinct(codes, cubes, sides)]))
    faces = np.empty((int(_counts(codes & 255).sum()), 3), np.int32)
    first = 0
    for numbers in _triangles(codes, cubes, sides):
        faces[first : first + len(numbers)] = np.searchsorted(places, numbers)
        first += len(numbers)
    # The table's triangles look outwards along (z, y, x); world coordinates are (x, y, z).
    if np.linalg.det(grid.matrix[:3, :3]) > 0:
        faces = faces[:, ::-1]
    halves = np.stack(np.unravel_index(places, tuple(sides)), axis=-1)
    # Cube 0 begins at the centre of a voxel outside of the volume.
    return Mesh(grid.index_to_world(halves / 2 - 0.5), faces)


def _distinct(codes: Ints, cubes: Ints, sides: Ints) -> Iterator[Ints]:
    return (np.unique(numbers) for numbers in _triangles(codes, cubes, sides))


def _triangles(codes: Ints, cubes: Ints, sides: Ints) -> Iterator[Ints]:
    """Yield the numbers of the triangles' vertices, (t, 3), chunk by chunk."""
    table = cube_table()
    steps = np.array([sides[1] * sides[2], sides[2], 1])
    corners = table.corners @ steps
    for first in range(0, len(codes), _CHUNK):
        some = codes[first : first + _CHUNK]
        counts = _counts(some & 255)
        starts = 2 * np.stack(np.unravel_index(some >> 8, tuple(cubes)), axis=-1) @ steps
        ends = np.cumsum(counts)
        # The triangles of every cube, one after the other, as places in the table.
        rows = np.arange(ends[-1]) + np.repeat(table.first[some & 255] - ends + counts, counts)
        yield corners[rows] + np.repeat(starts, counts)[:, np.newaxis]


def _counts(kinds: Ints) -> Ints:
    return np.asarray(np.diff(cube_table().first)[kinds])
