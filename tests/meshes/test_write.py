"""Files of surfaces, as trimesh reads them: corners, names, colours, coordinate system."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tiledseg.errors import UnknownFormat
from tiledseg.grid import LOCAL, PATIENT
from tiledseg.labels import ClassInfo
from tiledseg.meshes import FilesWriter, Mesh, SceneWriter

INFO = ClassInfo(7, "../left\nlung é", (10, 200, 90))
#: A tetrahedron off the origin, whose numbers are no whole ones.
MESH = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 12.3 + [-100.7, 55.1, 1000.9],
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
)


def written(folder: Path, file_format: str, space: object = PATIENT) -> Path:
    writer = FilesWriter(folder, file_format, space)
    assert writer.add(INFO, MESH) not in folder.iterdir()
    (path,) = writer.commit()
    writer.abort()
    assert list(folder.iterdir()) == [path]
    return path


@pytest.mark.parametrize("file_format", ["stl", "ply", "obj"])
def test_files_are_what_was_given(tmp_path: Path, file_format: str) -> None:
    path = written(tmp_path / "a" / "b", file_format)
    assert path.name == f"007__left_lung_.{file_format}"
    read = trimesh.load(path)
    expected = MESH.vertices[MESH.faces].astype(np.float32)
    np.testing.assert_array_equal(read.vertices.astype(np.float32)[read.faces], expected)
    assert read.is_watertight
    assert read.volume == pytest.approx(12.3**3 / 6, rel=1e-4)


@pytest.mark.parametrize("file_format", ["stl", "ply", "obj"])
def test_files_say_which_way_is_left(tmp_path: Path, file_format: str) -> None:
    assert b"SPACE=LPS" in written(tmp_path / "a", file_format).read_bytes()[:90]
    assert b"SPACE" not in written(tmp_path / "b", file_format, LOCAL).read_bytes()


def test_stl_has_normals_that_look_outwards(tmp_path: Path) -> None:
    content = written(tmp_path / "a", "stl").read_bytes()
    assert len(content) == 84 + 4 * 50
    first = struct.unpack("<3f", content[84:96])
    np.testing.assert_allclose(first, (0, 0, -1), atol=1e-6)


def test_ply_is_coloured(tmp_path: Path) -> None:
    read = trimesh.load(written(tmp_path / "a", "ply"), process=False)
    assert (read.visual.vertex_colors[:, :3] == INFO.color).all()
    header = (tmp_path / "a" / "007__left_lung_.ply").read_bytes().split(b"end_header")[0]
    assert b"comment class 7 ../left_lung _\n" in header


def test_a_scene_is_coloured_named_and_upright(tmp_path: Path) -> None:
    path, other = tmp_path / "s.glb", ClassInfo(9, "liver", (255, 0, 128))
    writer = SceneWriter(path, PATIENT)
    writer.add(INFO, MESH)
    writer.add(other, Mesh(MESH.vertices + 50, MESH.faces))
    assert writer.commit() == [path]
    scene = trimesh.load(path)
    assert list(scene.geometry) == [INFO.name, "liver"]
    liver = scene.geometry["liver"]
    np.testing.assert_array_equal(liver.vertices, (MESH.vertices + 50).astype(np.float32))
    color = liver.visual.material.baseColorFactor
    # trimesh takes numbers as they are: 128 of 255 in sRGB is 0.2158 in linear light
    np.testing.assert_allclose(np.array(color) / 255, [1, 0, 0.2158, 1], atol=2e-3)
    left, back, up = MESH.vertices.min(axis=0)  # of the whole scene, in millimetres
    low, high = scene.bounds  # in metres, +X left, +Y up, +Z front
    np.testing.assert_allclose(low[:2] * 1000, [left, up], rtol=1e-5)
    np.testing.assert_allclose(high[2] * 1000, -back, rtol=1e-5)
    assert list(tmp_path.iterdir()) == [path]


def test_a_scene_keeps_the_rules_of_glb(tmp_path: Path) -> None:
    writer = SceneWriter(tmp_path / "s.glb", LOCAL)
    writer.add(INFO, MESH)
    writer.commit()
    content = (tmp_path / "s.glb").read_bytes()
    magic, version, length, size, kind = struct.unpack("<4sII I4s", content[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
    assert size % 4 == 0
    document = json.loads(content[20 : 20 + size])
    left, name = struct.unpack("<I4s", content[20 + size : 28 + size])
    assert name == b"BIN\0"
    assert left == document["buffers"][0]["byteLength"] == len(content) - 28 - size
    position = document["accessors"][0]
    assert position["max"] == MESH.vertices.astype(np.float32).max(axis=0).tolist()
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    normals = np.frombuffer(content[28 + size :], np.float32)[12:24].reshape(4, 3)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


def test_what_is_not_finished_is_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    writer = FilesWriter(folder, "ply", PATIENT)
    writer.add(INFO, MESH)
    assert len(list(folder.iterdir())) == 1
    writer.abort()
    scene = SceneWriter(tmp_path / "s.glb", PATIENT)
    scene.add(INFO, MESH)
    scene.abort()
    assert list(tmp_path.iterdir()) == []


def test_formats_not_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat, match="as 'vtk': known are stl, ply, obj, and one scene"):
        FilesWriter(tmp_path, "vtk", PATIENT)
