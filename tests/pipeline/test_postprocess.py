"""Class maps are changed object by object; grid, names, colours and nodata stay."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import ndimage

import tiledseg
from tiledseg.cli import run
from tiledseg.errors import ConfigError, OutputFailed, UnknownFormat
from tiledseg.grid import PATIENT, Grid, Space, SpaceKind
from tiledseg.io import SinkSpec, create_sink, open_source, read_schema
from tiledseg.labels import ClassSchema
from tiledseg.pipeline._stages import Stages
from tiledseg.steps import read_steps

SCHEMA = ClassSchema.of_names(["nothing", "field", "water"], background=0)


def on_earth(shape: tuple[int, int], epsg: int, matrix: list[list[float]]) -> Grid:
    from rasterio.crs import CRS

    crs = CRS.from_epsg(epsg)
    geographic = crs.is_geographic
    kind = SpaceKind.GEOGRAPHIC if geographic else SpaceKind.PROJECTED
    space = Space(kind, crs.to_wkt(), None if geographic else 1.0)
    return Grid.from_matrix(shape, matrix, space)


def utm(shape: tuple[int, int], step: float = 10.0) -> Grid:
    return on_earth(shape, 32633, [[step, 0, 5e5], [0, -step, 5.4e6], [0, 0, 1]])


def write(path: Path, labels: np.ndarray, grid: Grid, schema: ClassSchema | None = SCHEMA) -> Path:
    sink = create_sink(path, SinkSpec(grid, labels.dtype, ("class",), 255, schema), "gtiff")
    sink.prepare()
    sink.write(grid.box, labels[None])
    sink.commit()
    return path


def read(path: Path) -> np.ndarray:
    with open_source(path) as source:
        return source.read(source.grid.box)[0]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Fields with a hole, a small field of 3 samples, one of 4, water, nodata."""
    labels = np.zeros((40, 60), np.uint8)
    labels[5:20, 5:20] = 1
    labels[9:11, 9:11] = 0
    labels[30, 30:33] = 1
    labels[33:35, 40:42] = 1
    labels[25:28, 50:55] = 2
    labels[38:] = 255
    return write(tmp_path / "map.tif", labels, utm(labels.shape))


def test_a_scene_keeps_what_it_is(scene: Path, tmp_path: Path) -> None:
    out, shares = tmp_path / "out.tif", []
    steps = [tiledseg.RemoveSmall(400, "m2"), tiledseg.FillHoles()]
    made = tiledseg.postprocess(scene, out, steps, on_share=shares.append)
    expected = read(scene)
    expected[30, 30:33] = 0  # 300 m2; that of 400 m2 stays
    expected[9:11, 9:11] = 1
    np.testing.assert_array_equal(read(out), expected)
    with open_source(scene) as before, open_source(out) as after:
        assert after.grid == before.grid
        assert after.nodata == before.nodata == 255
        assert after.dtype == before.dtype
    assert read_schema(out) == SCHEMA
    assert made.outputs[:2] == [out, tmp_path / "out.qml"]
    assert {p.name for p in made.outputs[2:]} == {
        *("report.html", "report.json", "picture.png", "run.yaml")
    }
    assert made.objects == (6, 4)
    assert made.samples["field"] == (228, 229)
    assert made.changed == 7
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_command_does_the_same(scene: Path, tmp_path: Path, capsys: Any) -> None:
    python, shell = tmp_path / "python.tif", tmp_path / "shell.tif"
    steps = [
        tiledseg.KeepLargest(("field",), connectivity=8),
        tiledseg.RemoveSmall(16, "samples", "neighbour", connectivity=8),
        tiledseg.FillHoles(8),
    ]
    tiledseg.postprocess(scene, python, steps)
    words = f"postprocess {scene} --out {shell} --keep-largest field --min-samples 16 --json"
    more = "--small neighbour --fill-holes --connectivity 8 --quiet"
    assert run([*words.split(), *more.split()]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["samples"]["water"] == [15, 0]
    assert python.read_bytes() == shell.read_bytes()
    assert set(np.unique(read(shell))) == {0, 1, 255}


def test_removed_objects_can_become_nodata(scene: Path, tmp_path: Path) -> None:
    step = tiledseg.KeepLargest(("field",), "nodata")
    tiledseg.postprocess(scene, tmp_path / "out.tif", [step])
    out = read(tmp_path / "out.tif")
    assert (out[30, 30:33] == 255).all()
    assert (out == 1).sum() == 221


def test_areas_in_degrees_are_geodesic(tmp_path: Path) -> None:
    """Two squares of as many samples: at 60 degrees north one is half as large."""
    labels = np.zeros((700, 20), np.uint8)
    labels[10:20, 5:15] = labels[610:620, 5:15] = 1
    grid = on_earth(labels.shape, 4326, [[0.1, 0, 10], [0, -0.1, 62], [0, 0, 1]])
    scene = write(tmp_path / "map.tif", labels, grid)
    tiledseg.postprocess(scene, tmp_path / "out.tif", [tiledseg.RemoveSmall(8e9, "m2")])
    out = read(tmp_path / "out.tif")
    assert not out[10:20].any()  # 100 samples of 11.1 by 5.2 km: 5.8e9 m2
    assert (out[610:620, 5:15] == 1).all()  # 1.23e10 m2


def test_a_volume_by_its_millimetres(tmp_path: Path) -> None:
    labels = np.zeros((20, 30, 40), np.uint8)
    labels[2:4, 2:4, 2:4] = 1  # 8 voxels of 1.5 mm3: 12 mm3
    labels[10:13, 10:13, 10:13] = 2  # 40.5 mm3
    grid = Grid.from_centers(labels.shape, (1.0, 2.0, 3.0), (0.5, 1.0, 3.0), space=PATIENT)
    volume = write(tmp_path / "map.nii.gz", labels, grid)
    out = tmp_path / "out.nii.gz"
    assert run(["postprocess", str(volume), "-o", str(out), "--min-volume", "12.1", "-q"]) == 0
    assert set(np.unique(read(out))) == {0, 2}
    assert read_schema(out) == SCHEMA
    with open_source(volume) as before, open_source(out) as after:
        assert after.grid.like(before.grid)
    with pytest.raises(ConfigError, match="has no sizes in m2, its sizes are in mm3"):
        tiledseg.postprocess(volume, out, [tiledseg.RemoveSmall(5, "m2")])


def test_what_a_volume_does_not_measure_stays_so(tmp_path: Path) -> None:
    """A file of a volume cannot declare nodata; the schema beside it keeps 255 for it."""
    labels = np.zeros((5, 9, 9), np.uint8)
    labels[1:4, 1:4, 1:4], labels[1:4, 6:9, 6:9] = 1, 1
    labels[2, 2, 2], labels[2, 7, 7], labels[2, 7, 6] = 0, 0, 255  # a hole; beside 255 is none
    labels[0, 0, :2], labels[4, 4, 4] = 255, 255
    grid = Grid.from_centers(labels.shape, (0, 0, 0), (1, 1, 1), space=PATIENT)
    volume, out = write(tmp_path / "map.nii.gz", labels, grid), tmp_path / "out.nii.gz"
    made = tiledseg.postprocess(volume, out, ["fill_holes", "keep_largest"])
    expected = labels.copy()
    expected[2, 2, 2] = 1
    expected[1:4, 6:9, 6:9][labels[1:4, 6:9, 6:9] != 255] = 0
    np.testing.assert_array_equal(read(out), expected)
    assert read(out).dtype == np.uint8
    assert read_schema(out) == SCHEMA
    assert list(made.samples) == ["nothing", "field", "water"]


def test_passes_follow_one_another(scene: Path, tmp_path: Path) -> None:
    """Steps of several passes are what each alone makes of what the one before wrote."""
    steps: list[Any] = [
        {"remove_small": {"samples": 4, "connectivity": 8}},
        "fill_holes",
        {"smooth": {"radius_m": 20}},
        {"smooth": 1},
        {"keep_largest": {"together": True, "connectivity": 8}},
    ]
    out = tmp_path / "out.tif"
    made = tiledseg.postprocess(scene, out, steps, with_report=False)
    before, changed = scene, 0
    for number, step in enumerate(steps):
        after = tmp_path / f"{number}.tif"
        changed += tiledseg.postprocess(before, after, [step], with_report=False).changed
        assert not np.array_equal(read(after), read(before))
        before = after
    np.testing.assert_array_equal(read(out), read(before))
    assert made.changed == changed
    assert made.objects is not None
    assert made.objects[1] < made.objects[0]
    assert not [p for p in tmp_path.iterdir() if "passes" in p.name]


def test_the_command_takes_any_step(scene: Path, tmp_path: Path, capsys: Any) -> None:
    python, shell = tmp_path / "python.tif", tmp_path / "shell.tif"
    steps: list[Any] = [tiledseg.Smooth(20, "m"), tiledseg.FillHoles(8), {"smooth": 3}]
    tiledseg.postprocess(scene, python, steps)
    given = ["--smooth", "20m", "--fill-holes", "--connectivity", "8", "--step", "smooth: 3"]
    assert run(["postprocess", str(scene), "-o", str(shell), *given]) == 0
    told = capsys.readouterr()
    assert "samples changed" in told.out
    assert f"wrote {tmp_path / 'shell.report' / 'report.html'}" in told.out
    assert python.read_bytes() == shell.read_bytes()


def test_a_report_shows_what_changed(scene: Path, tmp_path: Path) -> None:
    made = tiledseg.postprocess(scene, tmp_path / "out.tif", [tiledseg.RemoveSmall(4)])
    folder = tmp_path / "out.report"
    told = json.loads((folder / "report.json").read_text())
    assert told["ran"]["picture"] == "before, after, and where they differ"
    assert told["ran"]["objects"] == "6 before, 5 after"
    assert told["ran"]["samples_changed"] == str(made.changed) == "3"
    shares = {c["name"]: c["amount"] for c in told["classes"]}
    assert shares["field"] == pytest.approx(2.25)  # hectares: 225 samples of 100 m2
    steps = yaml.safe_load((folder / "run.yaml").read_text())["postprocess"]
    assert read_steps(steps) == (tiledseg.RemoveSmall(4),)
    red = np.asarray(Image.open(folder / "picture.png"))
    assert (red == (200, 30, 40)).all(-1).any()


def test_a_budget_is_kept_or_refused(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = tmp_path / "out.tif"
    words = ["postprocess", str(scene), "-o", str(out), "--fill-holes", "-q", "--memory"]
    assert run([*words, "1MB"]) == 4
    told = capsys.readouterr().err
    assert re.search(r"post-processing .* of \(40, 60\) samples needs .* budget is 1", told), told
    assert not out.exists()
    wide = 8e6  # of samples, in a row
    stages = Stages.of([tiledseg.FillHoles()], Grid.local((9, int(wide))), "map")
    assert wide * 20 < stages.need() < wide * 60
    monkeypatch.setattr("tiledseg.components._find.PIECE_BYTES", 1 << 40)
    assert run([*words, "6GB"]) == 4
    told = capsys.readouterr().err
    assert "components in the first 100% of the map need" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.qml", "map.tif"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--keep-largest liver", "has no class 'liver'; it has nothing, field, water"),
        ("--connectivity 6 --fill-holes", "connectivity 6 does not exist in 2-D; take 4, 8"),
        ("--min-volume 4", "has no sizes in mm3, its sizes are in m2"),
        ("", "nothing to do: give at least one step"),
        ("--smooth 5m", "smooth: a radius of 5 m reaches no other sample of"),
        ("--smooth wide", "--smooth 'wide' is no radius; write it like 2 (samples), 20m or 3mm"),
        ("--step erode", "step 1: there is no step 'erode'; there are smooth, keep_largest"),
        ("--min-samples -3", "remove small: least size -3 is no number above 0"),
        ("--min-area 0", "least size 0.0 is no number above 0"),
        ("--fill-holes --class water", "--class is for small objects: give --min-area"),
        ("--fill-holes --small nodata", "--small is for small objects: give --min-area"),
        ("--smooth 2 --connectivity 8", "--connectivity is for objects: give --min-area"),
    ],
)
def test_bad_input_is_one_sentence(
    scene: Path, tmp_path: Path, capsys: Any, options: str, sentence: str
) -> None:
    out = tmp_path / "out.tif"
    assert run(["postprocess", str(scene), "-o", str(out), *options.split(), "-q"]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.qml", "map.tif"]


def test_wrong_files_are_refused(scene: Path, tmp_path: Path) -> None:
    steps = [tiledseg.FillHoles()]
    before = scene.read_bytes()
    with pytest.raises(ConfigError, match="would overwrite the input"):
        tiledseg.postprocess(scene, scene, steps)
    with pytest.raises(UnknownFormat, match="cannot write"):
        tiledseg.postprocess(scene, tmp_path / "out.jpg", steps)
    with pytest.raises(OutputFailed):
        tiledseg.postprocess(scene, tmp_path / "none" / "out.tif", steps)
    floats = write(tmp_path / "f.tif", np.zeros((9, 9), np.float32), utm((9, 9)), None)
    with pytest.raises(ConfigError, match=r"f\.tif is not a class map: .* channels of float32"):
        tiledseg.postprocess(floats, tmp_path / "out.tif", steps)
    assert scene.read_bytes() == before


def test_a_stop_on_the_way_leaves_nothing(scene: Path, tmp_path: Path) -> None:
    def stop(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.postprocess(scene, tmp_path / "out.tif", [tiledseg.FillHoles()], on_share=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.qml", "map.tif"]


@pytest.mark.data
def test_a_palette_map_keeps_its_colours(data: Path, tmp_path: Path) -> None:
    """Land cover of another tool: its middle, against scipy on the whole of it."""
    import rasterio
    from rasterio.windows import Window

    scene, out, part = tmp_path / "map.tif", tmp_path / "out.tif", Window(2500, 3000, 2048, 2048)
    with rasterio.open(next(data.rglob("cog_cmap.tif"))) as file:
        profile = {**file.profile, "driver": "GTiff", "width": 2048, "height": 2048}
        profile["transform"] = file.transform @ file.transform.translation(2500, 3000)
        with rasterio.open(scene, "w", **profile) as copy:
            copy.write(file.read(window=part))
            copy.write_colormap(1, file.colormap(1))
    tiledseg.postprocess(scene, out, [tiledseg.RemoveSmall(500, becomes="neighbour")])
    with open_source(scene) as before, open_source(out) as after:
        held = np.unique(read(out)[after.valid(after.grid.box)])
        assert after.grid.like(before.grid)
        assert after.palette is not None
        assert before.palette is not None
        np.testing.assert_array_equal(after.palette[held], before.palette[held])
        invalid = ~before.valid(before.grid.box)
        np.testing.assert_array_equal(~after.valid(after.grid.box), invalid)
    labels = read(out)
    counts = [
        np.bincount(ids.ravel())[1:]
        for ids in (ndimage.label((labels == v) & ~invalid)[0] for v in held)
    ]
    assert min(map(min, counts)) >= 500
    assert sum(map(len, counts)) > 30


@pytest.mark.data
def test_organs_keep_their_largest_part(data: Path, tmp_path: Path) -> None:
    organs, out = next(data.rglob("example_seg_fast_force_split.nii.gz")), tmp_path / "out.nii.gz"
    tiledseg.postprocess(organs, out, [tiledseg.KeepLargest(connectivity=26)])
    before, after = read(organs), read(out)
    near = np.ones((3, 3, 3))
    several = 0
    for value in np.unique(before[before > 0]):
        ids, count = ndimage.label(before == value, near)
        sizes = np.bincount(ids.ravel())[1:]
        several += count > 1
        np.testing.assert_array_equal(after == value, ids == 1 + sizes.argmax())
    assert several > 5
