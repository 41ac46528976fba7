"""Label volume -> closed surfaces per class; the only door to scikit-image and trimesh."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingBackend
from ..grid import Grid
from ..io import settle, temporary_beside, writing
from ..labels import ClassInfo, ClassSchema

try:
    import trimesh
    from skimage.measure import marching_cubes
except ImportError as error:
    raise MissingBackend(error.name or "scikit-image", "surfaces", "surfaces of a volume") from None


def surfaces_need(shape: tuple[int, ...]) -> int:
    """Return the bytes `write_surfaces` may need: class map, float32 mask, and a mesh."""
    return prod(shape) * 16


def write_surfaces(
    class_map: NDArray[Any],
    grid: Grid,
    schema: ClassSchema,
    folder: Path,
    file_format: Literal["stl", "ply"],
) -> list[Path]:
    """Write one closed surface per class that occurs.

    Vertices are in patient millimetres, LPS, as 3D Slicer assumes for files without a note. Faces
    look outwards whatever the handedness of the grid.

    Args:
        class_map: Labels, (z, y, x).
        grid: Where the voxels lie.
        schema: The classes; background and nodata get no surface.
        folder: Where; made if it is not there.
        file_format: ``stl`` or ``ply``, both binary.

    Returns:
        The files, by class id.

    Raises:
        OutputFailed: A file cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    made = []
    for info in schema.unique:
        voxels = class_map == info.id
        if info.id == schema.background or not voxels.any():
            continue
        mesh = surface(voxels, grid)
        path = folder / f"{_file_name(info)}.{file_format}"
        partial = temporary_beside(path)
        with writing(path):
            partial.write_bytes(mesh.export(file_type=file_format))
            settle(partial, path)
        made.append(path)
    return made


def surface(voxels: NDArray[np.bool_], grid: Grid) -> Any:
    """Return the closed surface around ``voxels`` as a trimesh in world coordinates."""
    found = [np.flatnonzero(voxels.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    low = np.array([axis[0] for axis in found])
    box = tuple(slice(int(axis[0]), int(axis[-1]) + 1) for axis in found)
    # One sample of background around the box closes the surface at the image's border.
    padded = np.pad(voxels[box], 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, level=0.5, allow_degenerate=False)
    # Vertex v of the padded box is the centre of sample v - 1 + low: index v - 0.5 + low.
    world = grid.index_to_world(vertices - 0.5 + low)
    mesh = trimesh.Trimesh(world, faces, process=False)
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def _file_name(info: ClassInfo) -> str:
    """Return a file name that no class name can lead out of the folder."""
    return f"{info.id:03d}_{re.sub(r'[^A-Za-z0-9_-]+', '_', info.name)[:60]}"
