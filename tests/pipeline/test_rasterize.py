"""Polygons become class maps: as GDAL burns the whole image, whatever the blocks; and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import transform_geom

import tiledseg
from tests.datasets.files import write_polygons, write_raster
from tiledseg.cli import run
from tiledseg.components import block_boxes
from tiledseg.datasets import BurntLabels
from tiledseg.errors import ConfigError, UnknownFormat
from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink, open_source, read_schema
from tiledseg.labels import ClassSchema

SHAPE = (90, 120)
AFFINE = rasterio.Affine(2.0, 0, 400000.0, 0, -2.0, 5000000.0)


def shapes_at(seed: int, count: int = 40) -> list[shapely.Polygon]:
    """Overlapping triangles about the image, some of their vertices on corners of samples."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform((399990, 4999800), (400260, 5000010), (count, 2))
    corners = centres[:, None] + rng.uniform(-40, 40, (count, 3, 2))
    corners[::2] = np.round(corners[::2] / 2) * 2
    return [shapely.Polygon(c) for c in corners if shapely.Polygon(c).area > 1]


def burnt(shapes: list[shapely.Polygon], ids: list[int]) -> np.ndarray:
    pairs = zip(shapes, ids, strict=True)
    return rasterio.features.rasterize(pairs, SHAPE, transform=AFFINE, dtype=np.uint8)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, list[shapely.Polygon], list[int]]:
    write_raster(tmp_path / "a.tif", np.zeros(SHAPE, np.float32))
    shapes = shapes_at(3)
    return tmp_path, shapes, np.random.default_rng(4).integers(1, 3, len(shapes)).tolist()


@pytest.mark.parametrize("block", [13, 50, 1024])
def test_a_map_is_what_gdal_burns_at_once(
    scene: tuple[Path, list[shapely.Polygon], list[int]],
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, shapes, ids = scene
    monkeypatch.setattr("tiledseg.datasets._burnt._BLOCK", block)
    write_polygons(folder / "p.gpkg", shapes, "EPSG:32633", kind=ids)
    shares: list[float] = []
    made = tiledseg.rasterize(
        folder / "p.gpkg",
        folder / "a.tif",
        folder / "m.tif",
        attribute="kind",
        on_share=shares.append,
    )
    expected = burnt(shapes, ids)
    np.testing.assert_array_equal(read(folder / "m.tif"), expected)
    assert made.samples["class 2"] == (expected == 2).sum()
    assert made.polygons == len(shapes)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    with open_source(folder / "a.tif") as one, open_source(folder / "m.tif") as other:
        assert one.grid == other.grid
        assert other.nodata == 255


def covered(shapes: list[shapely.Polygon], ids: list[int]) -> np.ndarray:
    """Return the last polygon that covers any part of each sample, by GEOS."""
    whole = np.zeros(SHAPE, np.uint8)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    east, north = 400000 + 2.0 * x, 5000000 - 2.0 * y
    squares = shapely.box(east, north - 2, east + 2, north)
    for shape, value in zip(shapes, ids, strict=True):
        shapely.prepare(shape)
        near = shapely.intersects(shape, squares)
        near[near] = shapely.area(shapely.intersection(shape, squares[near])) > 1e-9
        whole[near] = value
    return whole


@pytest.mark.parametrize("block", [13, 1024])
def test_all_that_is_touched(
    scene: tuple[Path, list[shapely.Polygon], list[int]],
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, shapes, ids = scene
    monkeypatch.setattr("tiledseg.datasets._burnt._BLOCK", block)
    write_polygons(folder / "p.gpkg", shapes, "EPSG:32633", kind=ids)
    words = f"rasterize {folder}/p.gpkg --like {folder}/a.tif -o {folder}/m.tif --attribute kind -q"
    assert run([*words.split(), "--all-touched"]) == 0
    found, expected = read(folder / "m.tif"), covered(shapes, ids)
    np.testing.assert_array_equal(found, expected)
    pairs = zip(shapes, ids, strict=True)
    theirs = rasterio.features.rasterize(pairs, SHAPE, transform=AFFINE, all_touched=True)
    assert (found != theirs).mean() < 0.02  # corners, and what lies along borders of samples


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    block=st.tuples(st.integers(17, 80), st.integers(11, 80)),
    touched=st.booleans(),
)
def test_a_map_does_not_depend_on_blocks(seed: int, block: tuple[int, int], touched: bool) -> None:
    shapes = shapes_at(seed, 8)
    grid = Grid.from_matrix(SHAPE, np.array(AFFINE).reshape(3, 3))
    schema = ClassSchema.of_names([f"c{i}" for i in range(len(shapes) + 1)], 0)
    labels = BurntLabels(grid, shapes, list(range(1, len(shapes) + 1)), schema, 0, "p")
    labels.all_touched = touched
    whole = labels.read(grid.box)[0]
    for box in block_boxes(SHAPE, block):
        np.testing.assert_array_equal(labels.read(box)[0], whole[box.slices])


def test_polygons_of_a_map_give_the_map(tmp_path: Path) -> None:
    """Bit for bit, names, colours and nodata too; with and without the map at hand."""
    rng = np.random.default_rng(8)
    labels = np.kron(rng.integers(0, 4, (30, 40)), np.ones((3, 3), int)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.1] = 3
    labels[:, :5] = 255
    schema = ClassSchema.of_names(["rest", "field", "water", "wood"], background=0)
    source = write_raster(tmp_path / "like.tif", labels.astype(np.float32))
    with open_source(source) as opened:
        spec = SinkSpec(opened.grid, labels.dtype, ("class",), 255, schema)
    sink = create_sink(tmp_path / "map.tif", spec)
    sink.prepare()
    sink.write(spec.grid.box, labels[None])
    sink.commit()
    tiledseg.vectorize(tmp_path / "map.tif", tmp_path / "p.gpkg")
    tiledseg.rasterize(tmp_path / "p.gpkg", tmp_path / "map.tif", tmp_path / "back.tif")
    expected = np.where(labels == 255, 0, labels)  # background and nodata have no polygons
    np.testing.assert_array_equal(read(tmp_path / "back.tif"), expected)
    assert read_schema(tmp_path / "back.tif") == schema
    made = tiledseg.rasterize(tmp_path / "p.gpkg", source, tmp_path / "other.tif")
    np.testing.assert_array_equal(read(tmp_path / "other.tif"), expected)
    assert list(made.samples) == ["background", "field", "water", "wood"]
    tiledseg.rasterize(tmp_path / "p.gpkg", source, tmp_path / "n.tif", outside="nodata")
    np.testing.assert_array_equal(read(tmp_path / "n.tif"), np.where(expected, labels, 255))
    with rasterio.open(tmp_path / "n.tif") as file:
        assert file.nodata == 255


def test_names_and_another_crs(
    scene: tuple[Path, list[shapely.Polygon], list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, shapes, ids = scene
    moved = transform_geom("EPSG:32633", "EPSG:4326", [shapely.geometry.mapping(s) for s in shapes])
    names = ["", "tree", "house"]
    degrees = [shapely.geometry.shape(m) for m in moved]
    write_polygons(folder / "p.geojson", degrees, "EPSG:4326", kind=[names[i] for i in ids])
    words = f"rasterize {folder}/p.geojson --like {folder}/a.tif -o {folder}/m.tif --json -q"
    assert run([*words.split(), "--attribute", "kind"]) == 0
    assert list(json.loads(capsys.readouterr().out)["samples"]) == ["background", "house", "tree"]
    swapped = burnt(shapes, [3 - i for i in ids])  # house comes before tree
    assert (read(folder / "m.tif") == swapped).mean() > 0.999
    assert run([*words.split(), "--attribute", "kind", "--classes", "tree"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["strange"] == {"house": ids.count(2)}
    assert set(np.unique(read(folder / "m.tif"))) == {0, 1, 255}
    (folder / "c.yaml").write_text("classes: [rest, tree, {id: 7, name: house}]\nbackground: 0\n")
    assert run([*words.split(), "--attribute", "kind", "--classes", f"{folder}/c.yaml"]) == 0
    assert set(np.unique(read(folder / "m.tif"))) == {0, 1, 7}


def test_polygons_without_a_field_are_one_class(
    scene: tuple[Path, list[shapely.Polygon], list[int]],
) -> None:
    folder, shapes, _ = scene
    write_polygons(folder / "p.fgb", shapes)
    made = tiledseg.rasterize(folder / "p.fgb", folder / "a.tif", folder / "m.tif")
    np.testing.assert_array_equal(read(folder / "m.tif"), burnt(shapes, [1] * len(shapes)))
    assert list(made.samples) == ["background", "polygon"]
    tiledseg.rasterize(folder / "p.fgb", folder / "a.tif", folder / "m.tif", classes=["roof"])
    assert [c.name for c in read_schema(folder / "m.tif").classes] == ["background", "roof"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("p.gpkg --like a.tif -o m.tif --attribute sort", "has no field 'sort'; it has kind"),
        ("p.gpkg --like a.tif -o m.tif --classes house,tree", "which of house, tree a polygon is"),
        ("p.gpkg --like none.tif -o m.tif", "none.tif"),
        ("none.gpkg --like a.tif -o m.tif", "there is no file none.gpkg"),
        ("p.gpkg --like v.nii.gz -o m.tif", "is a volume: polygons are burnt on the grid of a 2-D"),
        ("p.gpkg --like a.tif -o a.tif", "would overwrite the input a.tif"),
        ("p.gpkg --like a.tif -o p.gpkg", "would overwrite the input p.gpkg"),
        ("p.gpkg --like a.tif -o m.jpg", "cannot write m.jpg: known suffixes are"),
        ("p.gpkg --like a.tif -o m.tif --attribute mixed", "labels of classes are 0 to 65533"),
        ("p.gpkg --like a.tif -o m.tif --classes c.yaml", "name no background"),
        ("p.gpkg --like a.tif -o m.tif --classes a\udcff", r"'a\udcff', is no UTF-8 text"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_raster(Path("a.tif"), np.zeros(SHAPE, np.uint8))
    write_polygons(Path("p.gpkg"), shapes_at(1)[:2], "EPSG:32633", kind=["a", "b"], mixed=[1, -5])
    Path("c.yaml").write_text("classes: [roof]\n")
    if "v.nii.gz" in words:
        grid = Grid.local((4, 4, 4))
        sink = create_sink(Path("v.nii.gz"), SinkSpec(grid, np.dtype(np.uint8), ("c",), None))
        sink.prepare()
        sink.write(grid.box, np.zeros((1, 4, 4, 4), np.uint8))
        sink.commit()
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run(["rasterize", *words.split(), "-q"]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("fields", "words", "samples"),
    [
        ([{"class_id": True}, {"class_id": False}], "", {"class 0": 85, "class 1": 15}),
        ([{"class_id": [1, 2]}] * 2, "--classes a,b", {"a": 0, "b": 0}),
        ([{"class_id": 1, "class_name": "a"}, {"class_id": 2, "class_name": "a"}], "", {"a": 65}),
    ],
)
def test_odd_fields(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fields: list[dict[str, object]],
    words: str,
    samples: dict[str, int],
) -> None:
    """Fields that are true or false are labels, lists are no class, one name is one row."""
    image = write_raster(tmp_path / "a.tif", np.zeros((10, 10), np.uint8))
    squares = [shapely.box(400000, 4999980, 400006, 4999990)]
    squares.append(shapely.box(400010, 4999980, 400020, 5000000))
    shown = [json.loads(shapely.to_geojson(each)) for each in squares]
    parts = [{"geometry": g, "properties": p} for g, p in zip(shown, fields, strict=True)]
    told = {"type": "FeatureCollection", "features": [{"type": "Feature", **p} for p in parts]}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    (tmp_path / "p.geojson").write_text(json.dumps({**told, "crs": crs}))
    given = ["rasterize", tmp_path / "p.geojson", "--like", image, "-o", tmp_path / "m.tif"]
    assert run([*map(str, given), *words.split(), "--json", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    found["samples"].pop("background", None)
    assert found["samples"] == samples
    assert sum(found["strange"].values()) == (2 if words else 0)


def test_a_stop_on_the_way_leaves_nothing(
    scene: tuple[Path, list[shapely.Polygon], list[int]],
) -> None:
    folder, shapes, _ = scene
    write_polygons(folder / "p.gpkg", shapes, "EPSG:32633")

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.rasterize(folder / "p.gpkg", folder / "a.tif", folder / "m.tif", on_share=stop)
    assert sorted(p.name for p in folder.iterdir()) == ["a.tif", "p.gpkg"]


def test_other_errors(scene: tuple[Path, list[shapely.Polygon], list[int]]) -> None:
    folder, shapes, _ = scene
    write_polygons(folder / "p.gpkg", shapes, "EPSG:32633", kind=[""] * len(shapes))
    with pytest.raises(ConfigError, match="holds no classes; name the classes"):
        tiledseg.rasterize(folder / "p.gpkg", folder / "a.tif", folder / "m.tif", attribute="kind")
    with pytest.raises(ConfigError, match="outside 'sea' is none of background, nodata"):
        tiledseg.rasterize(
            *(folder / name for name in ("p.gpkg", "a.tif", "m.tif")),
            outside="sea",
        )
    with pytest.raises(UnknownFormat):
        tiledseg.rasterize(folder / "p.gpkg", folder / "a.tif", folder / "m.png")


@pytest.mark.parametrize("west", [-200.0, -100.0, 0.0, 350.0, 740.0])
@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
def test_longitudes_of_polygons_and_image_may_differ_by_turns(
    tmp_path: Path, west: float, suffix: str
) -> None:
    """GeoJSON counts from -180 to 180, climate models from 0 to 360: there and back."""
    labels = np.random.default_rng(2).integers(0, 4, (20, 60)).astype(np.uint8)
    place = rasterio.Affine(5.95, 0, west, 0, -3.0, 30)
    write_raster(tmp_path / "a.tif", labels, transform=place, crs="EPSG:4326")
    path = tmp_path / f"p{suffix}"
    tiledseg.vectorize(tmp_path / "a.tif", path, with_report=True)
    told = json.loads((tmp_path / "p.report" / "report.json").read_text())["ran"]
    assert told["samples_alike"] == told["samples_drawn"] == "1,200"
    tiledseg.rasterize(path, tmp_path / "a.tif", tmp_path / "m.tif")
    np.testing.assert_array_equal(read(tmp_path / "m.tif"), labels)
