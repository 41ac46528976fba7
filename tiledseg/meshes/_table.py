"""The triangles of a cube between eight voxels; the only door to scikit-image.

They are those of `skimage.measure.marching_cubes` (Lewiner's method), asked once for every of the
256 ways in which corners can be in or out: in a mask all that a cube's triangles depend on. Corner
(z, y, x) of a cube is bit 4 z + 2 y + x.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingBackend

try:
    from skimage.measure import marching_cubes
except ImportError as error:
    raise MissingBackend(error.name or "scikit-image", "surfaces", "surfaces of a volume") from None


class CubeTable(NamedTuple):
    """The triangles of every cube.

    Args:
        corners: Vertices of triangles in half voxels from the cube's first corner, (t, 3, 3): 0 to
            2 along (z, y, x). Triangles look outwards if (z, y, x) were a right-handed system.
        first: Of cube c, triangles ``first[c]`` to ``first[c + 1]``: (257,).
    """

    corners: NDArray[np.int64]
    first: NDArray[np.int64]


@cache
def cube_table() -> CubeTable:
    """Return the triangles of the 256 cubes."""
    found = [_triangles(cube) for cube in range(256)]
    counts = [len(triangles) for triangles in found]
    return CubeTable(np.concatenate(found), np.concatenate([[0], np.cumsum(counts)]))


def _triangles(cube: int) -> NDArray[np.int64]:
    if cube in (0, 255):
        return np.zeros((0, 3, 3), np.int64)
    voxels = ((cube >> np.arange(8)) & 1).reshape(2, 2, 2).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(voxels, level=0.5, allow_degenerate=False)
    # Vertices are middles of edges, or of the cube: whole numbers of half voxels.
    halves = np.rint(2 * vertices).astype(np.int64)
    return np.asarray(halves[faces[:, _outwards()]])


@cache
def _outwards() -> list[int]:
    """Return in which order scikit-image's corners make a triangle that looks outwards."""
    voxels = np.zeros((2, 2, 2), np.float32)
    voxels[0, 0, 0] = 1
    vertices, faces, _, _ = marching_cubes(voxels, level=0.5)
    a, b, c = vertices[faces[0]]
    away = np.cross(b - a, c - a).sum() > 0  # from the one corner that is in
    return [0, 1, 2] if away else [2, 1, 0]
