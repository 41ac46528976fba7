"""Compiled loops over the cubes of a block, and over the edges of a mesh."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled

Ints = NDArray[np.int64]


@compiled
def crossed(
    labels: NDArray[np.int32], start: tuple[int, int, int], shape: tuple[int, int, int]
) -> tuple[NDArray[np.int32], Ints]:
    """Return the cubes that surfaces pass through, a cube once for every label at its corners.

    Args:
        labels: Voxels, (z, y, x); below 0 is what has no surface.
        start: Of the first cube, among those of the volume.
        shape: Cubes of the volume.

    Returns:
        Label, and number: the cube's place in the volume times 256 plus which corners are in.
    """
    owners, codes = np.empty(4096, np.int32), np.empty(4096, np.int64)
    corners = np.empty(8, np.int32)
    found = 0
    deep, high, wide = labels.shape
    for z in range(deep - 1):
        for y in range(high - 1):
            if found + 8 * wide > owners.shape[0]:  # room for a row in which all differ
                owners, codes = _longer(owners, codes, found + 8 * wide)
            row = ((z + start[0]) * shape[1] + y + start[1]) * shape[2] + start[2]
            for x in range(wide - 1):
                first = labels[z, y, x]
                same = True
                for i in range(8):
                    corners[i] = labels[z + (i >> 2), y + ((i >> 1) & 1), x + (i & 1)]
                    same = same and corners[i] == first
                if same:
                    continue
                seen = 0  # corners whose label had its turn
                for i in range(8):
                    if corners[i] < 0 or (seen >> i) & 1:
                        continue
                    cube = 0
                    for j in range(i, 8):
                        if corners[j] == corners[i]:
                            cube |= 1 << j
                    seen |= cube
                    owners[found] = corners[i]
                    codes[found] = (row + x) * 256 + cube
                    found += 1
    return owners[:found], codes[:found]


@compiled
def _longer(owners: NDArray[np.int32], codes: Ints, least: int) -> tuple[NDArray[np.int32], Ints]:
    """Return arrays with at least twice as much room."""
    size = max(2 * owners.shape[0], least)
    more, longer = np.empty(size, np.int32), np.empty(size, np.int64)
    more[: owners.shape[0]] = owners
    longer[: codes.shape[0]] = codes
    return more, longer


@compiled
def neighbour_sums(faces: NDArray[Any], vertices: NDArray[np.float64], sums: Any) -> None:
    """Add up, for every vertex, its neighbours and how many there are.

    An edge belongs to two triangles that run along it in opposite directions, so every vertex takes
    the next one of each triangle, and each neighbour once.

    Args:
        faces: (m, 3).
        vertices: (n, 3).
        sums: Filled, zeros so far: x, y, z and the number, (n, 4).
    """
    for face in range(faces.shape[0]):
        for i in range(3):
            one, other = faces[face, i], faces[face, (i + 1) % 3]
            for axis in range(3):
                sums[one, axis] += vertices[other, axis]
            sums[one, 3] += 1
