"""Label volumes -> closed surfaces, class by class, out of core.

A cube lies between eight neighbouring voxels. Blocks of the volume, with one voxel of overlap, give
the cubes that a class's surface passes through (`find_surfaces`); they wait on disk as one number
each, and one class after the other is sorted, welded and written. So a surface does not depend on
blocks, and no more than one of them is in memory.
"""

from __future__ import annotations

from ._find import FoundSurfaces, find_surfaces, surfaces_need
from ._mesh import BYTES_PER_CUBE, DECIMATING_BYTES, Mesh
from ._scene import SceneWriter
from ._write import FORMATS, FilesWriter, MeshWriter

__all__ = [
    "BYTES_PER_CUBE",
    "DECIMATING_BYTES",
    "FORMATS",
    "FilesWriter",
    "FoundSurfaces",
    "Mesh",
    "MeshWriter",
    "SceneWriter",
    "find_surfaces",
    "surfaces_need",
]
