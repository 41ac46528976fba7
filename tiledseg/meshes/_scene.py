"""Meshes -> one coloured scene: binary glTF 2.0 (GLB).

What glTF says of itself is kept: metres, +Y up, +Z to the front, so -X to the right. The vertices
are in the volume's own coordinates (patient space: millimetres along LPS), and one node above all
others brings them there. Colours are linear, as glTF wants them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputFailed
from ..grid import Space, SpaceKind
from ..io import Scratch, settle, temporary_beside, writing
from ..labels import ClassInfo
from ._mesh import Mesh
from ._write import MeshWriter

#: glTF 2.0, "Binary glTF Layout" and 5.1.3, 5.11.5: numbers of chunks, types and uses of buffers.
_MAGIC, _VERSION, _JSON, _BINARY = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_FLOAT, _UINT, _VERTICES, _INDICES = 5126, 5125, 34962, 34963
#: Bytes that a GLB can count.
_LARGEST = (1 << 32) - 1


class SceneWriter(MeshWriter):
    """One file with a coloured, named surface per class.

    Args:
        path: Final name.
        space: What the vertices' coordinates mean.

    Raises:
        OutputFailed: There is no room, or no such folder.
    """

    def __init__(self, path: Path, space: Space) -> None:
        self._path, self._space = path, space
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._classes: list[ClassInfo] = []
        self._scratch = Scratch(path.parent)

    def add(self, info: ClassInfo, mesh: Mesh) -> Path:
        """Write a class's surface into the scene's buffer; return the scene's name."""
        at = mesh.vertices.astype("<f4")
        with writing(self._path):
            self._put(at, _FLOAT, _VERTICES)
            self._accessors[-1]["min"] = at.min(axis=0).tolist()
            self._accessors[-1]["max"] = at.max(axis=0).tolist()
            self._put(mesh.normals(), _FLOAT, _VERTICES)
            self._put(mesh.faces.astype("<u4").ravel(), _UINT, _INDICES)
        self._classes.append(info)
        return self._path

    def _put(self, values: NDArray[Any], kind: int, use: int) -> None:
        """Append an array to the buffer; all of them are of four bytes a number."""
        begin = self._scratch.append(values)
        view = {"buffer": 0, "byteOffset": begin, "byteLength": values.nbytes}
        self._accessors.append(
            {
                "bufferView": len(self._views),
                "componentType": kind,
                "count": len(values),
                "type": "VEC3" if values.ndim == 2 else "SCALAR",
            }
        )
        self._views.append({**view, "target": use})

    def commit(self) -> list[Path]:
        """Write the scene's text and its buffer into one file, and rename it."""
        partial, size = temporary_beside(self._path), self._scratch.size
        text = json.dumps(self._document(size), separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + size
        if total > _LARGEST:
            raise OutputFailed(
                f"cannot write {self._path}: the scene takes {total} bytes and a GLB holds "
                f"{_LARGEST} at most; ask for fewer classes, or decimate them"
            )
        with writing(self._path):
            with partial.open("wb") as file:
                file.write(np.array([_MAGIC, _VERSION, total, len(text), _JSON], "<u4").tobytes())
                file.write(text)
                file.write(np.array([size, _BINARY], "<u4").tobytes())
                self._scratch.copy_to(file)
            settle(partial, self._path)
        self._scratch.close()
        return [self._path]

    def abort(self) -> None:
        """Remove what is unfinished."""
        self._scratch.close()
        with suppress(OSError):
            temporary_beside(self._path).unlink(missing_ok=True)

    def _document(self, size: int) -> dict[str, Any]:
        """Return the scene's text: one node, mesh and material per class."""
        count = len(self._classes)
        top = {
            "name": self._path.stem,
            "matrix": _to_gltf(self._space),
            "children": list(range(1, count + 1)),
        }
        nodes = [
            {"name": c.name, "mesh": i, "extras": {"class_id": c.id}}
            for i, c in enumerate(self._classes)
        ]
        patient = self._space.kind is SpaceKind.PATIENT
        told = {"vertices": "LPS, mm"} if patient else {}
        return {
            "asset": {"version": "2.0", "generator": "tiledseg", "extras": told},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [top, *nodes],
            "meshes": [_mesh(i, c) for i, c in enumerate(self._classes)],
            "materials": [_material(c) for c in self._classes],
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": size}],
        }


def _mesh(place: int, info: ClassInfo) -> dict[str, Any]:
    first = 3 * place
    attributes = {"POSITION": first, "NORMAL": first + 1}
    primitive = {"attributes": attributes, "indices": first + 2, "material": place}
    return {"name": info.name, "primitives": [primitive]}


def _material(info: ClassInfo) -> dict[str, Any]:
    color = np.array(info.color) / 255
    # sRGB to linear, IEC 61966-2-1
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return {
        "name": info.name,
        "pbrMetallicRoughness": {
            "baseColorFactor": [*linear.round(6).tolist(), 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": 0.8,
        },
    }


def _to_gltf(space: Space) -> list[float]:
    """Return the matrix, column by column, from (x, y, z) to glTF's (x, z, -y) in metres.

    In patient space that is (left, up, front), which is what glTF calls (-right, up, front).
    """
    unit = space.unit or 1.0
    matrix = np.array([[unit, 0, 0, 0], [0, 0, unit, 0], [0, -unit, 0, 0], [0, 0, 0, 1]])
    return [float(value) for value in matrix.T.ravel()]
