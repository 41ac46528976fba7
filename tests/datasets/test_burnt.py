"""Labels from polygon files, against rasterio on the whole grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
from rasterio.warp import transform_geom

from tests.datasets.files import write_polygons, write_raster
from tiledseg import read_dataset
from tiledseg.box import Box
from tiledseg.errors import ConfigError

SHAPE = (90, 120)
AFFINE = rasterio.Affine(2.0, 0, 400000.0, 0, -2.0, 5000000.0)
HEAD = "classes: [rest, house, tree]\nbackground: rest\n"


def shapes_at(rng: np.random.Generator, count: int = 40) -> list[shapely.Polygon]:
    """Overlapping triangles about the image."""
    centres = rng.uniform((399990, 4999800), (400260, 5000010), (count, 2))
    corners = centres[:, None] + rng.uniform(-30, 30, (count, 3, 2))
    return [shapely.Polygon(c) for c in corners]


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, list[shapely.Polygon], list[int]]:
    rng = np.random.default_rng(3)
    write_raster(tmp_path / "a.tif", np.zeros(SHAPE, np.uint8))
    shapes = shapes_at(rng)
    return tmp_path, shapes, rng.integers(1, 3, len(shapes)).tolist()


def dataset_of(folder: Path, suffix: str, more: str) -> Path:
    path = folder / "set.yaml"
    path.write_text(f"{HEAD}cases: [{{image: a.tif, labels: l{suffix}}}]\n{more}")
    return path


def read_all(path: Path, step: int) -> np.ndarray:
    """Read labels in boxes of ``step``."""
    dataset = read_dataset(path)
    whole = np.zeros(SHAPE, np.uint8)
    with dataset.open(dataset.cases[0]) as opened:
        for top in range(0, SHAPE[0], step):
            for left in range(0, SHAPE[1], step):
                box = Box((top, left), (top + step, left + step)).intersect(opened.grid.box)
                whole[box.slices] = opened.labels.read(box)[0]
    return whole


def burnt(shapes: list[shapely.Polygon], ids: list[int], fill: int = 0) -> np.ndarray:
    pairs = zip(shapes, ids, strict=True)
    return rasterio.features.rasterize(pairs, SHAPE, fill=fill, transform=AFFINE, dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp"])
@pytest.mark.parametrize("step", [1000, 17])
def test_the_later_polygon_wins_whatever_boxes_are_read(
    scene: tuple[Path, list[shapely.Polygon], list[int]], suffix: str, step: int
) -> None:
    folder, shapes, ids = scene
    crs = "EPSG:32633"
    write_polygons(folder / f"l{suffix}", shapes, crs, kind=[("", "house", "tree")[i] for i in ids])
    found = read_all(dataset_of(folder, suffix, "field: kind\n"), step)
    assert (found == burnt(shapes, ids)).mean() > 0.9999  # GeoJSON rounds, and is in degrees
    if suffix == ".gpkg":
        assert (found == burnt(shapes, ids)).all()


def test_flatgeobuf_holds_the_same_where_nothing_overlaps(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.zeros(SHAPE, np.uint8))
    shapes = [shapely.box(400010 + 40 * i, 4999900, 400035 + 40 * i, 4999990) for i in range(4)]
    write_polygons(tmp_path / "l.fgb", shapes, kind=[1, 2, 1, 2])
    found = read_all(dataset_of(tmp_path, ".fgb", "field: kind\n"), 50)
    assert (found == burnt(shapes, [1, 2, 1, 2])).all()


def test_polygons_in_another_crs_keep_their_order(
    scene: tuple[Path, list[shapely.Polygon], list[int]],
) -> None:
    folder, shapes, ids = scene
    far = shapely.box(400100, 4999950, 420000, 5009000)  # is cut, and lies under what comes later
    shapes, ids = [far, *shapes], [1, *ids]
    moved = transform_geom("EPSG:32633", "EPSG:4326", [shapely.geometry.mapping(s) for s in shapes])
    degrees = [shapely.geometry.shape(m) for m in moved]
    write_polygons(folder / "l.gpkg", degrees, "EPSG:4326", kind=ids)
    found = read_all(dataset_of(folder, ".gpkg", "field: kind\n"), 64)
    near = transform_geom("EPSG:4326", "EPSG:32633", [shapely.geometry.mapping(d) for d in degrees])
    assert (found == burnt(list(map(shapely.geometry.shape, near)), ids)).mean() > 0.999


def test_without_a_field_there_is_one_class(
    scene: tuple[Path, list[shapely.Polygon], list[int]],
) -> None:
    folder, shapes, _ = scene
    write_polygons(folder / "l.gpkg", shapes)
    path = dataset_of(folder, ".gpkg", "")
    with pytest.raises(ConfigError, match="polygons of 2 classes; name the field"):
        read_all(path, 50)
    path.write_text(path.read_text().replace(", tree", ""))
    assert (read_all(path, 50) == burnt(shapes, [1] * len(shapes))).all()


def test_what_lies_outside_can_be_without_truth(
    scene: tuple[Path, list[shapely.Polygon], list[int]],
) -> None:
    folder, shapes, ids = scene
    write_polygons(folder / "l.gpkg", shapes, kind=ids)
    found = read_all(dataset_of(folder, ".gpkg", "field: kind\noutside: ignore\n"), 50)
    assert (found == burnt(shapes, ids, 255)).all()


def test_kinds_not_known_are_counted_by_polygon(
    scene: tuple[Path, list[shapely.Polygon], list[int]],
) -> None:
    folder, shapes, _ = scene
    names = ["shed", "house"] * (len(shapes) // 2)
    write_polygons(folder / "l.gpkg", shapes, kind=names)
    path = dataset_of(folder, ".gpkg", "field: kind\n")
    dataset = read_dataset(path)
    with dataset.open(dataset.cases[0]) as opened:
        assert opened.labels.strange == {"shed": len(shapes) // 2}
    expected = burnt(shapes, [255, 1] * (len(shapes) // 2))
    assert (read_all(path, 50) == expected).all()
    with pytest.raises(ConfigError, match="no field 'sort'; it has kind"):
        read_all(dataset_of(folder, ".gpkg", "field: sort\n"), 50)
