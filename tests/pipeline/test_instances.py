"""Objects are numbered over the whole image, and told as tables and as COCO's panoptic segments."""

from __future__ import annotations

import csv
import json
import re
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import SimpleITK as sitk
from PIL import Image
from scipy import ndimage

import tiledseg
from tests.objects.test_objects import blobs, whole_split
from tiledseg.cli import run
from tiledseg.components import Amounts, block_boxes, find_components
from tiledseg.datasets import read_dataset
from tiledseg.engine import machine
from tiledseg.errors import (
    BudgetExceeded,
    ConfigError,
    DamagedInput,
    GridMismatch,
    OutputFailed,
    TiledsegError,
    UnknownFormat,
)
from tiledseg.grid import PATIENT, Grid, Space, SpaceKind
from tiledseg.io import MemorySource, Scratch, SinkSpec, create_sink, open_source
from tiledseg.labels import ClassInfo, ClassSchema
from tiledseg.objects import Centred, Cut, Heads, find_centres, split_components
from tiledseg.pipeline._evaluate._segments import ColouredIds
from tiledseg.pipeline._instances import _room
from tiledseg.pipeline._scores import OwnScores

SCHEMA = ClassSchema(
    (
        ClassInfo(0, "nothing", (0, 0, 0), False),
        ClassInfo(1, "building", (200, 0, 0), True),
        ClassInfo(2, "tree", (0, 200, 0), True),
        ClassInfo(3, "water", (0, 0, 200), False),
    ),
    background=0,
)
STEP = 2.0


def utm(shape: tuple[int, ...]) -> Grid:
    from rasterio.crs import CRS

    space = Space(SpaceKind.PROJECTED, CRS.from_epsg(32633).to_wkt(), 1.0)
    matrix = [[STEP, 0, 5e5], [0, -STEP, 5.4e6], [0, 0, 1]]
    return Grid.from_matrix(shape, matrix, space)


def degrees(shape: tuple[int, ...]) -> Grid:
    """Samples of a tenth of a degree, from 10 degrees east and 62 degrees north on."""
    from rasterio.crs import CRS

    space = Space(SpaceKind.GEOGRAPHIC, CRS.from_epsg(4326).to_wkt(), None)
    return Grid.from_matrix(shape, [[0.1, 0, 10], [0, -0.1, 62], [0, 0, 1]], space)


def write(
    path: Path, values: np.ndarray, grid: Grid | None = None, schema: ClassSchema | None = None
) -> Path:
    bands = values if values.ndim == (grid or utm((1, 1))).ndim + 1 else values[None]
    names = tuple(f"b{i}" for i in range(1, len(bands) + 1))
    nodata = 255 if bands.dtype == np.uint8 else None
    spec = SinkSpec(grid or utm(bands.shape[1:]), bands.dtype, names, nodata, schema)
    sink = create_sink(path, spec, "gtiff")
    sink.prepare()
    sink.write(spec.grid.box, bands)
    sink.commit()
    return path


def read(path: Path) -> np.ndarray:
    with open_source(path) as source:
        return source.read(source.grid.box)[0]


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def town() -> np.ndarray:
    """Buildings, of which two touch, trees of which three grow together, water, nodata."""
    labels = np.zeros((60, 90), np.uint8)
    y, x = np.indices(labels.shape)
    labels[:, 80:] = 3
    labels[5:15, 5:25], labels[15:30, 20:34] = 1, 1
    labels[40:44, 5:9] = 1
    for row, column in ((20, 50), (20, 62), (31, 56)):
        labels[(y - row) ** 2 + (x - column) ** 2 <= 49] = 2
    labels[50:, 40:60] = 3
    labels[58:] = 255
    return labels


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write(tmp_path / "map.tif", town(), schema=SCHEMA)


def test_things_are_numbered_and_told(scene: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    made = tiledseg.instances(
        scene, tmp_path / "ids.tif", tmp_path / "objects.csv", on_share=shares.append
    )
    ids, labels = read(tmp_path / "ids.tif"), town()
    buildings, _ = ndimage.label(labels == 1)
    expected = buildings.astype(np.uint32)
    expected[expected == 2] = 3  # the tree comes before the last building
    expected[labels == 2] = 2
    np.testing.assert_array_equal(ids, expected)
    assert ids.dtype == np.uint32
    with open_source(scene) as one, open_source(tmp_path / "ids.tif") as other:
        assert other.grid == one.grid
    assert made.objects == {"building": 2, "tree": 1}
    assert made.outputs == [tmp_path / "ids.tif", tmp_path / "objects.csv"]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    first, second, third = read_table(tmp_path / "objects.csv")
    assert [r["class"] for r in (first, second, third)] == ["building", "tree", "building"]
    assert float(third["area_m2"]) == 16 * STEP**2
    assert [third[f"box_{k}"] for k in ("x", "y", "width", "height")] == ["5", "40", "4", "4"]
    assert float(third["x"]) == 5e5 + 7 * STEP
    assert float(third["y"]) == 5.4e6 - 42 * STEP
    assert second["class_id"] == "2"
    assert int(second["samples"]) == (labels == 2).sum()


@pytest.mark.parametrize("way", [{}, {"split": "distance"}, {"centres": True}, {"split": True}])
def test_blocks_change_no_byte(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]
) -> None:
    """Blocks of 1, 7 and all rows; id maps, tables and segments."""
    rng = np.random.default_rng(3)
    heads = np.concatenate([rng.random((1, 60, 90)), rng.normal(0, 3, (2, 60, 90))])
    place = write(tmp_path / "heads.tif", heads.astype(np.float32))
    if way.get("centres"):
        way = {"centres": str(place), "window": 9, "threshold": 0.5}
    if way.get("split") is True:
        way = {"split": f"{place}:2", "depth": 0.5, "boundaries": True}
    written = []
    for samples in (1, 7 * 90, 1 << 22):
        monkeypatch.setattr(_room, "_BLOCK", 200 * samples)
        names = [tmp_path / name for name in ("ids.tif", "ids.csv", "ids.json", "ids.png")]
        scores = f"{place}:1"
        tiledseg.instances(scene, names[0], names[1], panoptic=True, scores=scores, **way)
        one = [name.read_bytes() for name in names[:3]]
        tiledseg.instances(scene, names[3], scores=scores, panoptic=True, **way)
        png = np.asarray(Image.open(names[3])).astype(np.int64) @ [1, 256, 65536]
        np.testing.assert_array_equal(png, read(names[0]))
        written.append(one)
    assert written[0] == written[1] == written[2]
    table = read_table(tmp_path / "ids.csv")
    assert len(table) >= 3
    assert {row["class"] for row in table} == {"building", "tree"}


def test_what_touches_is_parted(scene: Path, tmp_path: Path) -> None:
    made = tiledseg.instances(
        scene, tmp_path / "ids.tif", tmp_path / "o.gpkg", classes="tree", split="distance"
    )
    assert made.objects == {"tree": 3}
    ids = read(tmp_path / "ids.tif")
    assert len({ids[20, 50], ids[20, 62], ids[31, 56]} - {0}) == 3
    assert (ids > 0).sum() == (town() == 2).sum()
    table = pyogrio.raw.read(tmp_path / "o.gpkg")
    assert table[0]["crs"] == "EPSG:32633"
    assert dict(zip(table[0]["fields"], table[3], strict=True))["id"].tolist() == [1, 2, 3]


def test_panoptic_segments_are_cocos(scene: Path, tmp_path: Path) -> None:
    """Read again by what reads COCO's own files: the same classes, stuff and void included."""
    folder = tmp_path / "coco"
    (folder / "annotations" / "panoptic_val2017").mkdir(parents=True)
    (folder / "val2017").mkdir()
    write(folder / "val2017" / "town.tif", np.zeros((3, 60, 90), np.uint8))
    out = folder / "annotations" / "town.png"
    made = tiledseg.instances(scene, out, panoptic=True)
    assert made.stuff == ("water",)
    told = json.loads((folder / "annotations" / "town.json").read_text())
    assert {c["name"]: c["isthing"] for c in told["categories"]} == {
        "nothing": 0,
        "building": 1,
        "tree": 1,
        "water": 0,
    }
    ids = np.asarray(Image.open(out)).astype(np.int64) @ [1, 256, 65536]
    infos = told["annotations"][0]["segments_info"]
    assert [i["id"] for i in infos] == [1, 2, 3, 4]
    for info in infos:
        own = ids == info["id"]
        assert (town()[own] == info["category_id"]).all()
        assert info["area"] == own.sum()
        y, x = np.nonzero(own)
        assert info["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
    told["images"][0]["file_name"] = "town.tif"
    path = folder / "annotations" / "panoptic_val2017.json"
    path.write_text(json.dumps(told))
    out.rename(folder / "annotations" / "panoptic_val2017" / "town.png")
    dataset = read_dataset(folder)
    with dataset.open(dataset.cases[0]) as pair:
        found = pair.labels.read(pair.grid.box)[0]
    void = (town() == 0) | (town() == 255)
    np.testing.assert_array_equal(found[~void], town()[~void])
    assert (found[void] == dataset.schema.nodata).all()


def test_a_volume_has_its_objects_in_millimetres(tmp_path: Path) -> None:
    labels = np.zeros((12, 20, 24), np.uint8)
    labels[2:5, 3:8, 3:8] = 1
    labels[5, 8, 8] = 1  # by a corner
    labels[8:10, 12:15, 12:15] = 1
    grid = Grid.from_centers(labels.shape, (0, 0, 0), (0.5, 0.5, 2.0), space=PATIENT)
    volume = write(tmp_path / "map.nii.gz", labels, grid)
    settings = {"connectivity": 26, "panoptic": True, "least": 10, "unit": "mm3"}
    made = tiledseg.instances(volume, tmp_path / "i.nii.gz", tmp_path / "o.csv", **settings)
    assert made.outputs[-1] == tmp_path / "i.json"
    ids = read(tmp_path / "i.nii.gz")
    np.testing.assert_array_equal(ids, ndimage.label(labels, np.ones((3, 3, 3)))[0] == 1)
    for name in ("i.nrrd", "i.mha"):
        tiledseg.instances(volume, tmp_path / name, **settings)
        np.testing.assert_array_equal(read(tmp_path / name), ids)
        theirs = sitk.ReadImage(str(tmp_path / name))
        assert theirs.GetPixelID() == sitk.sitkUInt32
        np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), ids)
    (row,) = read_table(tmp_path / "o.csv")
    assert float(row["volume_mm3"]) == 76 * 0.5
    box = [row[f"box_{k}"] for k in ("x", "y", "z", "width", "height", "depth")]
    assert box == ["3", "3", "2", "6", "6", "4"]
    (info,) = json.loads(made.outputs[-1].read_text())["annotations"][0]["segments_info"]
    assert info["bbox"] == [3, 3, 2, 6, 6, 4]


def test_a_volume_is_split_by_its_lengths(tmp_path: Path) -> None:
    """Voxels four times as deep as wide: as every component is on its own, in widths."""
    labels = blobs(4, (9, 40, 44), 14)
    labels[labels == 255] = 0
    grid = Grid.from_centers(labels.shape, (0, 0, 0), (0.5, 0.5, 2.0), space=PATIENT)
    volume = write(tmp_path / "map.nii.gz", labels, grid)
    made = tiledseg.instances(volume, tmp_path / "ids.nii.gz", split="distance")
    expected = whole_split(labels, 1, Cut(1.0, (4.0, 1.0, 1.0)), None)
    found, expected = read(tmp_path / "ids.nii.gz"), np.where(labels, expected, 0)
    pairs = {*zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True)}
    assert len(pairs) == len(dict(pairs)) == len({i for _, i in pairs})
    assert len(pairs) - 1 == sum(made.objects.values())
    assert len(pairs) - 1 > sum(ndimage.label(labels == i)[1] for i in (1, 2))


def test_areas_in_degrees_are_geodesic(tmp_path: Path) -> None:
    """Two squares of as many samples: at 60 degrees north one is half as large."""
    labels = np.zeros((700, 20), np.uint8)
    labels[10:20, 5:15] = labels[610:620, 5:15] = 1
    scene = write(tmp_path / "map.tif", labels, degrees(labels.shape), SCHEMA)
    out, table = tmp_path / "ids.tif", tmp_path / "objects.csv"
    tiledseg.instances(scene, out, table, least=8e9, unit="m2")
    ids = read(out)
    assert not ids[10:20].any()  # 100 samples of 11.1 by 5.2 km: 5.8e9 m2
    assert (ids[610:620, 5:15] == 1).all()
    (row,) = read_table(table)
    assert float(row["area_m2"]) == pytest.approx(1.23e10, rel=0.01)


def test_what_the_process_holds_is_no_room(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for the map, and beside it for the box of none of the three that touch, or of some."""
    monkeypatch.setattr(machine, "resident", lambda: 10**9)
    least = 10**9 + (64 << 20) + _room._FIXED + 60 * 90 * _room._SAMPLE

    def left(more: int) -> int:
        settings = {"split": "distance", "memory": str(least + more)}
        made = tiledseg.instances(scene, tmp_path / "ids.tif", **settings)
        assert f"{made.left} objects had no room" in made.summary() or not made.left
        return made.left

    assert left(2 * 6 * _room.ROW_BYTES) == 2
    assert left(2 * 703 * 100) == 1  # of 4 x 4, 26 x 27 and 25 x 29 samples
    assert left(2 * 726 * 100) == 0
    with pytest.raises(BudgetExceeded, match=r"components in the first 100% of the map need"):
        left(100)
    with pytest.raises(BudgetExceeded, match=r"map.tif needs 1\.1 GB to be numbered"):
        left(-1)


def test_parts_and_centres_have_no_endless_room(scene: Path, tmp_path: Path) -> None:
    heads = np.zeros((3, 60, 90), np.float32)
    heads[0, ::8, ::8] = 1
    place = write(tmp_path / "heads.tif", heads)
    with open_source(scene) as source, open_source(place) as other:
        boxes, amounts = block_boxes((60, 90), (20, 90)), Amounts.of(np.ones(60), 90)
        with pytest.raises(BudgetExceeded, match="there are 96 centres or more, and memory for 90"):
            find_centres(Heads(other, most=90), boxes)
        with pytest.raises(BudgetExceeded, match=r"groups in blocks or more, and memory for 96"):
            Centred.of(source, Heads(other, most=96), np.arange(4), boxes, (amounts, None))
        found = find_components(source)
        cut, chosen = Cut(1.0, (1.0, 1.0), rows=len(found.table) + 2), found.table.labels > 0
        with Scratch(tmp_path) as scratch, pytest.raises(BudgetExceeded, match="parts of them"):
            split_components(found, chosen, cut, scratch, (amounts, None))


def test_id_map_table_and_segments_come_together_or_not_at_all(tmp_path: Path) -> None:
    """A map of many small objects, whose table has no room."""
    labels = np.zeros((120, 120), np.uint8)
    labels[::2, ::2] = 1
    scene = write(tmp_path / "map.tif", labels, schema=SCHEMA)
    names = [tmp_path / name for name in ("ids.tif", "o.csv", "ids.json")]
    tiledseg.instances(scene, *names[:2], panoptic=True)
    before = [name.read_bytes() for name in names]
    room = len(before[0]) + 2000
    assert len(before[1]) > room
    labels[::4] = 2
    scene = write(tmp_path / "map.tif", labels, schema=SCHEMA)
    there = sorted(tmp_path.iterdir())
    for table in (names[1], tmp_path / "o.gpkg"):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            with pytest.raises(OutputFailed, match=f"cannot write .*{table.name}"):
                tiledseg.instances(scene, names[0], table, panoptic=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert sorted(tmp_path.iterdir()) == there
        assert [name.read_bytes() for name in names] == before


def test_scores_are_those_of_the_class_of_every_sample(scene: Path, tmp_path: Path) -> None:
    labels = town()
    values = np.random.default_rng(0).random((4, 60, 90)).astype(np.float32)
    spec = SinkSpec(
        utm(labels.shape), values.dtype, ("nothing", "building", "tree", "water"), np.nan
    )
    sink = create_sink(tmp_path / "scores.tif", spec, "gtiff")
    sink.prepare()
    sink.write(spec.grid.box, values)
    sink.commit()
    for way in ({}, {"split": "distance"}):
        tiledseg.instances(
            scene, tmp_path / "i.tif", tmp_path / "o.csv", scores=tmp_path / "scores.tif", **way
        )
        ids = read(tmp_path / "i.tif")
        for row in read_table(tmp_path / "o.csv"):
            mean = values[int(row["class_id"])][ids == int(row["id"])].mean()
            assert float(row["score"]) == pytest.approx(mean, abs=1e-6)


def test_the_command_does_the_same(scene: Path, tmp_path: Path, capsys: Any) -> None:
    python, shell = tmp_path / "python.tif", tmp_path / "shell.tif"
    settings = {"classes": ("tree", 1), "split": "distance", "least": 80, "unit": "m2"}
    tiledseg.instances(scene, python, connectivity=8, depth=0.5, **settings)
    words = f"instances {scene} -o {shell} --classes tree,1 --split distance --min-area 80"
    more = "--connectivity 8 --depth 0.5 --json --quiet"
    assert run([*words.split(), *more.split()]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["objects"] == {"tree": 3, "building": 2}
    assert python.read_bytes() == shell.read_bytes()
    assert run([*words.split(), "--memory", "1MB"]) == 4
    told = capsys.readouterr().err
    assert re.match(r".*needs [\d.]+ .B to be numbered, .* and the memory is 1.0 MB: raise", told)
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"classes": ("road",)}, ConfigError, "has no class 'road'; it has nothing, building"),
        ({"split": "heads.tif"}, ConfigError, "must be 1 channel, found 3; name which, like"),
        ({"split": "heads.tif:9"}, ConfigError, "9"),
        ({"centres": "heads.tif:1,2"}, ConfigError, "must be 3 channels, found 2"),
        ({"centres": "small.tif"}, GridMismatch, "must lie on the grid"),
        ({"split": "small.tif:1"}, GridMismatch, "must lie on the grid"),
        ({"scores": "small.tif:1"}, GridMismatch, "must lie on the grid"),
        ({"scores": "heads.tif"}, ConfigError, "'nothing' is not among b1, b2, b3"),
        ({"scores": "heads.tif:2"}, ConfigError, "hold 0 to 7, expected 0 to 1"),
        ({"split": "distance", "centres": "heads.tif"}, ConfigError, "give one of them"),
        ({"split": "distance", "boundaries": True}, ConfigError, "those of a channel"),
        ({"depth": 2}, ConfigError, "belong to a split"),
        ({"split": "distance", "depth": 0}, ConfigError, "depth 0 is no number above 0"),
        ({"split": "distance", "depth": "1"}, ConfigError, "depth '1' is no number above 0"),
        ({"window": 4}, ConfigError, "window 4 must be odd"),
        ({"window": 7.0}, ConfigError, "window 7.0 must be odd"),
        ({"threshold": None}, ConfigError, "threshold None is no number"),
        ({"panoptic": "no"}, ConfigError, "panoptic 'no' is not true or false"),
        ({"memory": [4]}, ConfigError, "memory [4] is not an amount of bytes"),
        ({"least": -1}, ConfigError, "is no number of 0 or more"),
        ({"least": "many"}, ConfigError, "least size 'many' is no number of 0 or more"),
        ({"least": 10**400}, ConfigError, "is no number of 0 or more"),
        ({"connectivity": [4]}, ConfigError, "connectivity [4] does not exist in 2-D"),
        ({"least": 5, "unit": "mm3"}, ConfigError, "its sizes are in m2"),
        ({"connectivity": 6}, ConfigError, "connectivity 6 does not exist in 2-D"),
        ({"clases": 1}, ConfigError, "has no setting 'clases'"),
        ({"out": "ids.jpg"}, UnknownFormat, "known suffixes"),
        ({"out": "map.tif"}, ConfigError, "would overwrite the input"),
        ({"out": "heads.tif", "centres": "heads.tif"}, ConfigError, "overwrite the input heads"),
        ({"out": "heads.tif", "split": "heads.tif:1"}, ConfigError, "overwrite the input heads"),
        ({"objects": "o.xlsx"}, UnknownFormat, "known are"),
        ({"objects": "o.parquet"}, UnknownFormat, "known are .gpkg, .geojson, .fgb"),
        ({"objects": "no/o.csv"}, OutputFailed, "there is no folder"),
    ],
)
def test_bad_settings_are_one_sentence(
    scene: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    heads = np.zeros((3, 60, 90), np.float32)
    heads[1] = 7 * np.eye(60, 90)
    write(tmp_path / "heads.tif", heads)
    write(tmp_path / "small.tif", np.zeros((3, 6, 9), np.float32))
    there = {p.name for p in tmp_path.iterdir()}
    settings = {"out": "ids.tif", **settings}
    with pytest.raises(error) as caught:
        tiledseg.instances(
            "map.tif", settings.pop("out"), settings.pop("objects", None), **settings
        )
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == there


def test_maps_without_things_or_too_many_for_a_png(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuff = write(tmp_path / "map.tif", town(), schema=SCHEMA.with_things([]))
    with pytest.raises(ConfigError, match="has no things: its classes are nothing, building"):
        tiledseg.instances(stuff, tmp_path / "ids.tif")
    assert tiledseg.instances(stuff, tmp_path / "ids.tif", classes="tree").objects == {"tree": 1}
    monkeypatch.setattr("tiledseg.pipeline._instances._instances.PNG_LARGEST", 2)
    scene = write(tmp_path / "map.tif", town(), schema=SCHEMA)
    with pytest.raises(ConfigError, match="there are 3 objects, and ids up to 2"):
        tiledseg.instances(scene, tmp_path / "ids.png")
    assert not (tmp_path / "ids.png").exists()
    volume = write(
        tmp_path / "v.nii.gz",
        np.ones((2, 3, 4), np.uint8),
        Grid.from_centers((2, 3, 4), (0, 0, 0), (1, 1, 1), space=PATIENT),
    )
    with pytest.raises(ConfigError, match=r"a PNG holds scenes"):
        tiledseg.instances(volume, tmp_path / "ids.png")
    with pytest.raises(ConfigError, match=r"take \.csv"):
        tiledseg.instances(volume, tmp_path / "i.nii.gz", tmp_path / "o.gpkg")


def test_what_a_volume_does_not_measure_is_no_object(tmp_path: Path) -> None:
    """A file of a volume cannot declare nodata; the schema beside it keeps 255 for it."""
    labels = np.zeros((6, 8, 9), np.uint8)
    labels[1:3, 1:4, 1:4], labels[4], labels[1, 6, 6] = 1, 255, 255
    grid = Grid.from_centers(labels.shape, (0, 0, 0), (1, 1, 1), space=PATIENT)
    schema = ClassSchema.of_names(["rest", "organ"], background=0)
    volume = write(tmp_path / "map.nii.gz", labels, grid, schema)
    made = tiledseg.instances(volume, tmp_path / "ids.nii.gz", panoptic=True)
    assert made.objects == {"organ": 1}
    np.testing.assert_array_equal(read(tmp_path / "ids.nii.gz"), labels == 1)


def test_a_json_of_somebody_else_stays(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text("{}")
    with pytest.raises(OutputFailed, match="was not written by tiledseg"):
        tiledseg.instances(scene, tmp_path / "ids.tif", panoptic=True)
    (tmp_path / "ids.json").unlink()
    for _ in range(2):  # its own is replaced
        tiledseg.instances(scene, tmp_path / "ids.tif", panoptic=True)


def test_a_map_of_another_tool_has_things_but_for_0(tmp_path: Path) -> None:
    place = {"transform": rasterio.Affine(2, 0, 0, 0, -2, 0)}
    shape = {"width": 9, "height": 4, "count": 1, "dtype": "int16"}
    with rasterio.open(tmp_path / "map.tif", "w", driver="GTiff", **shape, **place) as file:
        file.write(np.array([[0, 7, 7, 0, 9, 0, 7, 0, 0]] * 4, np.int16), 1)
    made = tiledseg.instances(tmp_path / "map.tif", tmp_path / "ids.tif")
    assert made.objects == {"class 7": 2, "class 9": 1}
    assert read(tmp_path / "ids.tif")[0].tolist() == [0, 1, 1, 0, 2, 0, 3, 0, 0]


def test_damaged_heads_leave_nothing(scene: Path, tmp_path: Path) -> None:
    heads = np.random.default_rng(0).random((3, 60, 90)).astype(np.float32)
    place = write(tmp_path / "heads.tif", heads)
    data = place.read_bytes()
    place.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedInput):
        tiledseg.instances(scene, tmp_path / "ids.tif", centres=str(place))
    assert not list(tmp_path.glob("*ids*"))


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_panoptic_quality_of_what_was_written(
    scene: Path, tmp_path: Path, capsys: Any, suffix: str
) -> None:
    """The truth split, the map not: three trees are missed, one is extra; all else matches."""
    truth, found = tmp_path / f"truth{suffix}", tmp_path / f"found{suffix}"
    tiledseg.instances(scene, truth, classes=("building", "tree"), split="distance", panoptic=True)
    tiledseg.instances(scene, found, classes=("building", "tree"), panoptic=True)
    result = tiledseg.evaluate(found, truth, tmp_path / "out", metrics="panoptic")
    counts = {
        result.segment_name(c): (q.matched, q.extra, q.missed) for c, q in result.panoptic.items()
    }
    assert counts["tree"] == (0, 1, 3)
    assert counts["water"] == (1, 0, 0)
    assert counts["building"] == (2, 0, 1)  # the larger of two that touch is more than half of both
    assert result.panoptic[3].pq == 1
    assert run(["evaluate", str(found), "--truth", str(truth), "--metrics", "panoptic"]) == 0
    told = capsys.readouterr().out
    assert "panoptic tree: PQ 0.0000" in told
    assert f"panoptic of all classes: PQ {result.mean_pq:.4f}" in told
    assert "panoptic building" in (tmp_path / "out" / "report.html").read_text()
    found.with_suffix(".json").unlink()
    if suffix == ".tif":
        bare = tiledseg.evaluate(found, truth, metrics="panoptic")
        assert list(bare.panoptic) == [0]
        assert "only one of map and truth" in bare.summary()
    else:
        with pytest.raises(ConfigError, match="3 channels, expected one of labels"):
            tiledseg.evaluate(found, truth, metrics="panoptic")


def test_crowds_of_a_map_are_segments_as_others(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "ids.tif"
    tiledseg.instances(scene, out, classes=("building", "tree"), panoptic=True)
    told = json.loads(out.with_suffix(".json").read_text())
    told["annotations"][0]["segments_info"][0]["iscrowd"] = 1
    out.with_suffix(".json").write_text(json.dumps(told))
    made = tiledseg.evaluate(out, out, metrics="panoptic").panoptic
    assert all(label >= 0 and q.pq == 1 and not q.extra for label, q in made.items())


def test_segments_that_are_damaged_or_mean_other_classes(scene: Path, tmp_path: Path) -> None:
    for name in ("truth.tif", "found.tif"):
        tiledseg.instances(scene, tmp_path / name, panoptic=True)
    told = (tmp_path / "found.json").read_text()
    for old, new, error, message in (
        ('"tree"', '"car"', ConfigError, "2 is 'car' and 'tree'"),
        ('"category_id": 2', '"category_id": 8', DamagedInput, "has no category 8"),
        ('{"id": 3, "category_id"', '{"id": 2, "category_id"', DamagedInput, "each once; found 2"),
        ('"segments_info": [', '"segments_info": [7,', DamagedInput, "no panoptic JSON"),
        (
            '{"id": 3, "category_id"',
            '{"id": 9, "category_id"',
            ConfigError,
            "the map holds segment 3",
        ),
        ("]}", "", DamagedInput, "no panoptic JSON"),
    ):
        (tmp_path / "found.json").write_text(told.replace(old, new))
        with pytest.raises(error, match=message):
            tiledseg.evaluate(tmp_path / "found.tif", tmp_path / "truth.tif", metrics="panoptic")


@pytest.mark.parametrize("name", ["objects.parquet", "objects.xyz", "a;b.gpkg"])
def test_a_table_that_cannot_be_written_is_refused_first(
    scene: Path, tmp_path: Path, name: str
) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TiledsegError, match="cannot write points to"):
        tiledseg.instances(scene, tmp_path / "ids.tif", tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


def test_ids_of_three_bytes_are_read_from_colours():
    colours = np.array([[[255, 0]], [[1, 2]], [[0, 3]]], np.uint8)
    source = ColouredIds(MemorySource(colours))
    assert source.read(source.grid.box).tolist() == [[[255 + 256, 2 * 256 + 3 * 65536]]]


def test_a_sample_has_the_score_of_its_class_and_none_where_it_has_none():
    grid = Grid.local((1, 3))
    labels = MemorySource(np.array([[[2, 255, 1]]], np.uint8), grid, nodata=255)
    scores = np.arange(12.0).reshape(4, 1, 3)
    names = tuple(c.name for c in SCHEMA.unique)[::-1]
    source = OwnScores(labels, MemorySource(scores, grid, channels=names), SCHEMA)
    found = source.read(grid.box)[0, 0]
    assert np.isnan(found[1])
    assert found[[0, 2]].tolist() == [
        scores[names.index("tree"), 0, 0],
        scores[names.index("building"), 0, 2],
    ]
