"""Label volumes become surfaces: files, names, volumes, coordinates, refusals."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import trimesh
from skimage.measure import marching_cubes

import tiledseg
from tests.datasets.files import write_raster
from tiledseg.cli import run
from tiledseg.engine import machine
from tiledseg.errors import BudgetExceeded, ConfigError, OutputFailed
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import SinkSpec, create_sink
from tiledseg.labels import ClassInfo, ClassSchema

SCHEMA = ClassSchema.of_names(["nothing", "liver", "left lung", "absent"], background=0)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A liver that reaches the border, a lung, and nodata."""
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[:20, 5:35, 5:20] = 1
    labels[5:25, 10:30, 30:48] = 2
    labels[28:] = 255
    direction = np.diag([-1.0, -1.0, 1.0])
    grid = Grid.from_centers(labels.shape, (9.0, -7.0, 3.0), (1.5, 1.0, 2.0), direction, PATIENT)
    path = tmp_path_factory.mktemp("volume") / "organs.nii.gz"
    sink = create_sink(path, SinkSpec(grid, labels.dtype, ("class",), 255, SCHEMA))
    sink.prepare()
    sink.write(grid.box, labels[None])
    sink.commit()
    return path


def test_a_file_per_class(volume: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    made = tiledseg.surfaces(volume, tmp_path / "s", file_format="ply", on_share=shares.append)
    assert [p.name for p in made.outputs] == ["001_liver.ply", "002_left_lung.ply"]
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [p.name for p in made.outputs]
    liver, lung = made.surfaces
    assert liver.voxels == 20 * 30 * 15
    assert liver.voxel_volume == pytest.approx(27.0)  # ml, of 3 mm3 voxels
    assert liver.volume == pytest.approx(27.0, rel=0.02)
    assert liver.agrees
    assert lung.agrees
    assert shares == sorted(shares)
    assert shares[-1] == 1
    mesh = trimesh.load(made.outputs[0])
    assert mesh.is_watertight
    assert mesh.volume / 1000 == pytest.approx(liver.volume, rel=1e-5)
    # x runs to the right: its first voxel's centre lies at 9 mm, voxel 5's side at 9 - 4.5 * 1.5
    np.testing.assert_allclose(mesh.bounds[:, 0], [9 - 19.5 * 1.5, 9 - 4.5 * 1.5], atol=1e-4)
    np.testing.assert_allclose(mesh.bounds[:, 2], [3 - 1, 3 + 39], atol=1e-4)


def test_the_command_makes_a_scene_of_some(
    volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "organs.glb"
    words = ["surfaces", str(volume), "-o", str(out), "--classes", "left lung,3", "--smooth", "5"]
    assert run([*words, "--decimate", "0.5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in told["surfaces"]] == ["left lung"]
    assert told["absent"] == ["absent"]
    scene = trimesh.load(out)
    assert list(scene.geometry) == ["left lung"]
    assert len(scene.geometry["left lung"].faces) == told["surfaces"][0]["triangles"]
    assert told["surfaces"][0]["surface_ml"] == pytest.approx(21.6, rel=0.03)
    assert run(words) == 0
    text = capsys.readouterr().out
    assert "no voxel of absent" in text
    assert "all 1 volumes agree within 2 % or a tenth of a voxel" in text


def test_vectorize_tells_who_makes_surfaces(volume: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a volume, .* \(tiledseg surfaces"):
        tiledseg.vectorize(volume, tmp_path / "p.gpkg")
    assert not (tmp_path / "p.gpkg").exists()


def test_vectorize_of_a_scene_ignores_no_option(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2], [2, 2, 2]], np.uint8)
    scene, out = write_raster(tmp_path / "scene.tif", values), tmp_path / "p.fgb"
    with pytest.raises(BudgetExceeded, match="raise the budget"):
        tiledseg.vectorize(scene, tmp_path / "large.fgb", memory="1MB")
    with pytest.raises(ConfigError, match=r"has no class 'water'"):
        tiledseg.vectorize(scene, out, classes="water")
    with pytest.raises(ConfigError, match=r"no setting 'clases'; there are classes"):
        tiledseg.vectorize(scene, out, clases=1)
    assert tiledseg.vectorize(scene, out, classes=1).outputs == [out]


def test_a_run_makes_the_same(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    """From the file that was written, or from memory."""
    model = make_model(3, 1, 3, schema=ClassSchema.of_names(["none", "a", "b"], background=0))
    image = np.random.default_rng(3).normal(100, 60, (20, 24, 28)).astype(np.float32)
    out = tmp_path / "map.nii.gz"
    surfaces = {"surfaces": str(tmp_path / "run")}
    tiledseg.segment(image, model, out, output={**surfaces, "report": False})
    again = {"surfaces": str(tmp_path / "memory"), "report": False}
    tiledseg.segment(image, model, output=again)
    made = tiledseg.surfaces(out, tmp_path / "own").outputs
    assert made
    for path in made:
        assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes()
        assert (tmp_path / "memory" / path.name).stat().st_size == path.stat().st_size


def test_names_and_colours_of_slicer(volume: Path, tmp_path: Path) -> None:
    """A colour table beside the volume, as 3D Slicer writes it."""
    copy = tmp_path / "organs.nii.gz"
    copy.write_bytes(volume.read_bytes())
    table = "# Color table file\n# 4 values\n0 Background 0 0 0 0\n1 Liver 221 130 101 255\n"
    (tmp_path / "organs.ctbl").write_text(table)
    made = tiledseg.surfaces(copy, tmp_path / "s", file_format="ply", classes=["Liver"])
    assert [p.name for p in made.outputs] == ["001_Liver.ply"]
    colors = trimesh.load(made.outputs[0]).visual.vertex_colors
    assert (colors[:, :3] == (221, 130, 101)).all()


def test_two_classes_of_one_name_go_by_label(tmp_path: Path) -> None:
    colors = [(0, 0, 0), (1, 2, 3), (4, 5, 6)]
    names = ("nothing", "vein", "vein")
    classes = tuple(ClassInfo(i, *each) for i, each in enumerate(zip(names, colors, strict=True)))
    grid, path = Grid.local((4, 5, 6)), tmp_path / "veins.nii.gz"
    spec = SinkSpec(grid, np.dtype(np.uint8), ("class",), 255, ClassSchema(classes, 0))
    sink = create_sink(path, spec)
    sink.prepare()
    sink.write(grid.box, np.arange(120, dtype=np.uint8).reshape(1, 4, 5, 6) // 50)
    sink.commit()
    for label in (1, 2):
        (made,) = tiledseg.surfaces(path, tmp_path / "s", classes=label).surfaces
        assert (made.id, made.name) == (label, "vein")
    with pytest.raises(ConfigError, match="has 2 classes 'vein'; give an id: 1, 2"):
        tiledseg.surfaces(path, tmp_path / "s", classes="vein")


def test_labels_without_names(tmp_path: Path) -> None:
    labels = np.zeros((9, 9, 9), np.uint16)
    labels[2:5, 2:5, 2:5] = 300
    made = tiledseg.surfaces(labels, tmp_path / "s", classes=[300])
    assert made.outputs[0].name == "300_class_300.stl"
    assert made.unit == "samples"
    assert made.surfaces[0].voxel_volume == 27
    assert made.surfaces[0].agrees


def test_no_names_are_all_classes(volume: Path, tmp_path: Path) -> None:
    """As in the commands for scenes."""
    some, every = (tiledseg.surfaces(volume, tmp_path / "a.glb", classes=c) for c in ([], None))
    assert some.surfaces == every.surfaces
    assert run(["contours", str(volume), "-o", str(tmp_path / "a.dcm"), "--classes", ""]) == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("-o s --classes spleen", "has no class 'spleen'; it has nothing, liver"),
        ("-o s --classes 77", "has no class '77'"),
        ("-o s --classes absent", "holds no voxel of absent"),
        ("-o s.stl", "name a folder, with the format stl, or one scene"),
        ("-o s.glb --format ply", "is one scene, which is GLB"),
        ("-o s --smooth -1", "smooth -1: give 0 to 1000 passes"),
        ("-o s --decimate 1", "decimate 1.0: give the share of triangles to do without"),
        ("-o none/s.glb", "there is no folder"),
    ],
)
def test_bad_input_is_one_sentence(
    volume: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["surfaces", str(volume), *options.split(), "-q"]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_volumes_are_refused(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="is not a class map: it has 1 channels of float"):
        tiledseg.surfaces(np.zeros((1, 4, 4, 4), np.float32), tmp_path / "s")
    with pytest.raises(ConfigError, match=r"array of shape \(4, 4\) is not a 3-D image"):
        tiledseg.surfaces(np.zeros((4, 4), np.uint8), tmp_path / "s")
    for share in ("half", 10**400):
        with pytest.raises(ConfigError, match=r"decimate .*: give the share"):
            tiledseg.surfaces(volume, tmp_path / "s", decimate=share)
    with pytest.raises(ConfigError, match="smooth True: give 0 to 1000 passes"):
        tiledseg.surfaces(volume, tmp_path / "s", smooth=True)
    with pytest.raises(BudgetExceeded, match=r"read in rows, which need 8.2 kB, and 0 B of"):
        tiledseg.surfaces(volume, tmp_path / "s", memory="1MB")
    monkeypatch.setattr(machine, "resident", lambda: 10**9)
    with pytest.raises(BudgetExceeded, match=r"class 1 \(liver\) passes through [\d,]+ cubes"):
        tiledseg.surfaces(volume, tmp_path / "s", memory=str(10**9 + 9000))
    room = str(10**9 + 10**6)
    assert tiledseg.surfaces(volume, tmp_path / "s", memory=room, classes=1).surfaces[0].agrees
    shutil.rmtree(tmp_path / "s")
    with pytest.raises(BudgetExceeded, match=r"class 1 \(liver\) passes through [\d,]+ cubes"):
        tiledseg.surfaces(volume, tmp_path / "s", memory=room, classes=1, decimate=0.5)
    (tmp_path / "file").touch()
    with pytest.raises(OutputFailed, match="is a file"):
        tiledseg.surfaces(volume, tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("out", ["s", "s.glb"])
def test_a_stop_on_the_way_leaves_nothing(volume: Path, tmp_path: Path, out: str) -> None:
    def stop(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.surfaces(volume, tmp_path / out, on_share=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["s", "s.glb"])
@pytest.mark.parametrize("room", [1_000, 60_000, 190_000])
def test_a_full_disk_is_one_sentence(volume: Path, tmp_path: Path, out: str, room: int) -> None:
    """No room for what waits, for the first surface, for the scene as a whole."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OutputFailed, match=r"^cannot write .*: File too large; mend that"):
            tiledseg.surfaces(volume, tmp_path / out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def organs(data: Path) -> tuple[Path, sitk.Image, dict[int, np.ndarray]]:
    """Organs of a CT as SimpleITK reads them, and the voxels (z, y, x) of each."""
    path = next(data.rglob("example_seg_fast_force_split.nii.gz"))
    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayViewFromImage(image)
    return path, image, {i: np.argwhere(labels == i) for i in np.unique(labels[labels > 0])}


def sides(image: sitk.Image, voxels: np.ndarray) -> np.ndarray:
    """Return where the sides of the outermost voxels are, low and high, (2, 3)."""
    ends = [voxels.min(axis=0) - 0.5, voxels.max(axis=0) + 0.5]
    world = [image.TransformContinuousIndexToPhysicalPoint(end[::-1].tolist()) for end in ends]
    return np.sort(world, axis=0)


@pytest.mark.data
def test_real_organs(
    organs: tuple[Path, sitk.Image, dict[int, np.ndarray]], tmp_path: Path
) -> None:
    """All of them: closed, marching cubes' triangles, where SimpleITK says that they are."""
    path, image, voxels = organs
    made = tiledseg.surfaces(path, tmp_path / "s")
    assert [s.id for s in made.surfaces] == sorted(voxels)
    assert len(voxels) == 61
    size = float(np.prod(image.GetSpacing()))
    for surface in made.surfaces:
        mesh, own = trimesh.load(surface.path), voxels[surface.id]
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert surface.voxels == len(own)
        assert mesh.volume > 0
        assert mesh.volume == pytest.approx(surface.volume * 1000, rel=1e-5)
        if len(own) > 3000:  # in smaller ones the edges that are taken off weigh more
            assert mesh.volume == pytest.approx(len(own) * size, rel=0.02)
        assert surface.agrees
        np.testing.assert_allclose(mesh.bounds, sides(image, own), atol=1e-3)
        # the end of the voxel that lies furthest to the front: its side's middle is on the surface
        z, y, x = own[own[:, 1].argmin()].tolist()
        middle = image.TransformContinuousIndexToPhysicalPoint([x, y - 0.5, z])
        assert np.linalg.norm(mesh.vertices - middle, axis=1).min() < 1e-3
        mask = np.zeros(own.max(axis=0) - own.min(axis=0) + 3, np.float32)
        mask[tuple((own - own.min(axis=0) + 1).T)] = 1
        corners, faces, _, _ = marching_cubes(mask, 0.5, allow_degenerate=False)
        world = [image.TransformContinuousIndexToPhysicalPoint(c) for c in _indices(corners, own)]
        np.testing.assert_allclose(
            _sorted(mesh.triangles), _sorted(np.array(world)[faces]), atol=2e-3
        )
    assert "25 of them by more than 2 %: --fit" in made.summary()


def _indices(corners: np.ndarray, own: np.ndarray) -> list[list[float]]:
    """Return corners in the mask around some voxels as indices (x, y, z) of the image."""
    return (corners + own.min(axis=0) - 1)[:, ::-1].astype(float).tolist()


def _sorted(triangles: np.ndarray) -> np.ndarray:
    """Return triangles as rows in a fixed order: by their middles in hundredths, corners too."""
    middles = np.rint(triangles.mean(axis=1) * 100).astype(np.int64)
    spread = np.rint(np.ptp(triangles, axis=1) * 100).astype(np.int64)
    order = np.lexsort([*middles.T, *spread.T])
    return np.sort(triangles[order], axis=1)


@pytest.mark.data
@pytest.mark.parametrize("style", [{"fit": True}, {"smooth": 10}])
def test_real_organs_in_a_scene_enclose_their_voxels(
    organs: tuple[Path, sitk.Image, dict[int, np.ndarray]], tmp_path: Path, style: dict[str, Any]
) -> None:
    """All in one coloured GLB, every one of its voxels' volume and place."""
    path, image, voxels = organs
    made = tiledseg.surfaces(path, tmp_path / "s.glb", **style)
    scene = trimesh.load(tmp_path / "s.glb")
    assert list(scene.geometry) == [s.name for s in made.surfaces]
    size, colors = float(np.prod(image.GetSpacing())), set()
    for surface, mesh in zip(made.surfaces, scene.geometry.values(), strict=True):
        own = voxels[surface.id]
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(len(own) * size, rel=1e-4)
        assert surface.agrees
        middle = image.TransformContinuousIndexToPhysicalPoint(own.mean(axis=0)[::-1].tolist())
        np.testing.assert_allclose(mesh.center_mass, middle, atol=image.GetSpacing()[0] / 2)
        if "smooth" not in style:  # which takes ends of vessels off
            atol = image.GetSpacing()[0] / 2
            np.testing.assert_allclose(mesh.bounds, sides(image, own), atol=atol)
        colors.add(tuple(mesh.visual.material.baseColorFactor.tolist()))
    assert len(colors) == len(voxels)
