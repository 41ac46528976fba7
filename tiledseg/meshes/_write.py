"""Meshes -> files: one per class as STL, PLY or OBJ, all of them or none.

Vertices are float32. In patient space they are millimetres along LPS (to the left, to the back,
up), as SimpleITK and DICOM have it. Files say so the way 3D Slicer reads it: ``SPACE=LPS`` in the
header of STL, in a comment of PLY and OBJ; from version 4.11 it takes LPS for granted besides
(vtkMRMLModelStorageNode).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownFormat
from ..grid import Space, SpaceKind
from ..io import settle, temporary_beside, writing
from ..labels import ClassInfo
from ._mesh import Mesh

#: Rows that are written together.
_CHUNK = 1 << 16


class MeshWriter(ABC):
    """Where surfaces go: whole under their final names, or not at all.

    Life: ``add`` (any number, one class each), then ``commit`` or ``abort``.
    """

    @abstractmethod
    def add(self, info: ClassInfo, mesh: Mesh) -> Path:
        """Write a class's surface under a temporary name; return the final one."""

    @abstractmethod
    def commit(self) -> list[Path]:
        """Bring everything to its final name, and return the files."""

    @abstractmethod
    def abort(self) -> None:
        """Remove everything unfinished; harmless after ``commit``."""


class FilesWriter(MeshWriter):
    """One file per class in a folder, which is made if it is not there.

    Args:
        folder: Where.
        file_format: One of `FORMATS`.
        space: What the vertices' coordinates mean.

    Raises:
        UnknownFormat: There is no such format.
        OutputFailed: The folder cannot be made.
    """

    def __init__(self, folder: Path, file_format: str, space: Space) -> None:
        if file_format not in FORMATS:
            raise UnknownFormat(
                f"cannot write surfaces as {file_format!r}: known are {', '.join(FORMATS)}, and "
                "one scene, a file whose name ends with .glb"
            )
        self._folder, self._format, self._space = folder, file_format, space
        self._finished: list[Path] = []
        self._made = [p for p in (folder, *folder.parents) if not p.exists()]
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, info: ClassInfo, mesh: Mesh) -> Path:
        """Write a class's surface under a temporary name; return the final one."""
        path = self._folder / f"{_file_name(info)}.{self._format}"
        note = "tiledseg SPACE=LPS" if self._space.kind is SpaceKind.PATIENT else "tiledseg"
        self._finished.append(path)
        with writing(path), temporary_beside(path).open("wb") as file:
            FORMATS[self._format](file, mesh, info, note)
        return path

    def commit(self) -> list[Path]:
        """Rename the files."""
        for path in self._finished:
            with writing(path):
                settle(temporary_beside(path), path)
        made, self._finished, self._made = self._finished, [], []
        return made

    def abort(self) -> None:
        """Remove the temporary files, and the folder if it was made for them."""
        for path in self._finished:
            with suppress(OSError):
                temporary_beside(path).unlink(missing_ok=True)
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()


def _file_name(info: ClassInfo) -> str:
    """Return a file name that no class name can lead out of the folder."""
    return f"{info.id:03d}_{re.sub(r'[^A-Za-z0-9_-]+', '_', info.name)[:60]}"


def _write_stl(file: BinaryIO, mesh: Mesh, info: ClassInfo, note: str) -> None:
    """Write binary STL: 80 bytes, the number of triangles, and 50 bytes for each."""
    header = f"{note} class {info.id} {_plain(info.name)}".encode()[:80]
    file.write(header.ljust(80))
    file.write(np.uint32(len(mesh.faces)).tobytes())
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    for corners in mesh.triangles():
        rows = np.zeros(len(corners[0]), kind)
        rows["corners"] = np.stack(corners, axis=1)
        a, b, c = (rows["corners"][:, i].astype(np.float64) for i in range(3))
        across = np.cross(b - a, c - a)
        length = np.linalg.norm(across, axis=1, keepdims=True)
        rows["normal"] = across / np.where(length == 0, 1, length)
        file.write(rows.tobytes())


def _write_ply(file: BinaryIO, mesh: Mesh, info: ClassInfo, note: str) -> None:
    """Write binary PLY, the class's colour at every vertex."""
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {note}",
        f"comment class {info.id} {_plain(info.name)}",
        f"element vertex {len(mesh.vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {color}" for color in ("red", "green", "blue")),
        f"element face {len(mesh.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    file.write(("\n".join(header) + "\n").encode("ascii"))
    vertex = np.dtype([("at", "<f4", 3), ("color", "u1", 3)])
    for some in _chunks(mesh.vertices):
        points = np.zeros(len(some), vertex)
        points["at"], points["color"] = some, info.color
        file.write(points.tobytes())
    face = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
    for some in _chunks(mesh.faces):
        rows = np.zeros(len(some), face)
        rows["count"], rows["corners"] = 3, some
        file.write(rows.tobytes())


def _write_obj(file: BinaryIO, mesh: Mesh, info: ClassInfo, note: str) -> None:
    """Write Wavefront OBJ; nine digits give a float32 exactly."""
    file.write(f"# {note}\no {'_'.join(_plain(info.name).split())}\n".encode("ascii"))
    for some in _chunks(mesh.vertices):
        text = "v %.9g %.9g %.9g\n" * len(some)
        file.write((text % tuple(some.astype(np.float32).ravel().tolist())).encode("ascii"))
    for some in _chunks(mesh.faces):
        text = "f %d %d %d\n" * len(some)
        file.write((text % tuple((some.ravel() + 1).tolist())).encode("ascii"))


def _chunks(rows: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    return [rows[first : first + _CHUNK] for first in range(0, len(rows), _CHUNK)]


def _plain(name: str) -> str:
    """Return a name as printable ASCII on one line, as headers of these formats are."""
    return re.sub(r"[^ -~]+", "_", name)[:60]


#: Suffix -> what writes it.
FORMATS: dict[str, Callable[[BinaryIO, Mesh, ClassInfo, str], None]] = {
    "stl": _write_stl,
    "ply": _write_ply,
    "obj": _write_obj,
}
