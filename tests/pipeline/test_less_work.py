"""Work that need not be done: nodata, air and what lies outside the region of interest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import SimpleITK as sitk

import tiledseg
from tiledseg.errors import ConfigError
from tiledseg.labels import ClassSchema

MakeModel = Callable[..., Path]
NODATA = 255
SIZE = 512
TILING = {"window": [64, 64], "stride": [48, 48]}


def blocky(shape: tuple[int, ...], low: int = 1) -> np.ndarray:
    """Return noise in blocks of 8 samples, from ``low`` to 254."""
    values = np.random.default_rng(2).integers(low, 255, tuple(n // 8 for n in shape), np.uint8)
    for axis in range(values.ndim):
        values = values.repeat(8, axis)
    return values


def write_scene(path: Path, values: np.ndarray, nodata: int | None = None) -> Path:
    """Write (c, y, x) as a GeoTIFF with pixels of 10 m."""
    shape = dict(zip(("count", "height", "width"), values.shape, strict=True))
    place = rasterio.Affine(10, 0, 5e5, 0, -10, 5.4e6)
    profile = {"dtype": values.dtype, "crs": "EPSG:32633", "nodata": nodata}
    with rasterio.open(path, "w", "GTiff", **shape, **profile, transform=place) as file:
        file.write(values)
    return path


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Return a scene (3, 512, 512)."""
    return np.stack([blocky((SIZE, SIZE)), blocky((SIZE, SIZE)).T, blocky((SIZE, SIZE))[::-1]])


@pytest.fixture
def path(tmp_path: Path, scene: np.ndarray) -> Path:
    """Return it as a file."""
    return write_scene(tmp_path / "scene.tif", scene)


def segment(image: Any, model: Path, out: Path | None = None, **more: Any) -> Any:
    return tiledseg.segment(image, model, out, **{"tiling": TILING, **more})


def world(low: float, high: float) -> list[float]:
    """Return bounds of the square of pixels [low, high)."""
    return [5e5 + 10 * low, 5.4e6 - 10 * high, 5e5 + 10 * high, 5.4e6 - 10 * low]


# --------------------------------------------------------------------- nodata


def test_windows_without_a_valid_pixel_are_skipped(
    tmp_path: Path, scene: np.ndarray, make_model: MakeModel
) -> None:
    """70 % nodata: what is left has the bits it has with the same nodata and no skipping."""
    partly = scene.copy()
    partly[:, : SIZE * 7 // 10] = 0
    found = segment(write_scene(tmp_path / "a.tif", partly, 0), make_model())
    whole = segment(write_scene(tmp_path / "b.tif", scene, 0), make_model())
    share = found.ran.evaluated / whole.ran.evaluated
    assert whole.ran.skipped == 0
    assert share < 0.4
    assert found.ran.evaluated + found.ran.skipped == whole.ran.evaluated
    assert (found.array[: SIZE * 7 // 10] == NODATA).all()
    far = SIZE * 7 // 10 + 64  # beyond the reach of windows that see nodata
    np.testing.assert_array_equal(found.array[far:], whole.array[far:])
    assert (found.array[SIZE * 7 // 10 :] != NODATA).all()


def test_the_saved_share_is_reported(
    tmp_path: Path, scene: np.ndarray, make_model: MakeModel
) -> None:
    partly = scene.copy()
    partly[:, : SIZE // 2] = 0
    out = tmp_path / "map.tif"
    ran = segment(write_scene(tmp_path / "a.tif", partly, 0), make_model(), out).ran
    told = json.loads((tmp_path / "map.report" / "report.json").read_text())["ran"]
    assert told["windows_skipped"] == ran.skipped > 0
    assert told["share_skipped"] == f"{ran.skipped / (ran.skipped + ran.evaluated):.1%}"


# --------------------------------------------------------------------- region of interest


def _polygon_file(folder: Path) -> str:
    shape = shapely.box(*world(100, 300))
    content = {"type": "FeatureCollection", "features": []}
    content["crs"] = {"type": "name", "properties": {"name": "EPSG:32633"}}
    content["features"] = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
    ]
    (folder / "roi.geojson").write_text(json.dumps(content))
    return str(folder / "roi.geojson")


def _mask_file(folder: Path) -> str:
    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[:, 100:300, 100:300] = 1
    return str(write_scene(folder / "roi.tif", mask))


@pytest.mark.parametrize("kind", ["polygon", "box", "mask"])
def test_only_the_region_of_interest_is_computed(
    tmp_path: Path, path: Path, make_model: MakeModel, kind: str
) -> None:
    made = {"polygon": _polygon_file, "mask": _mask_file}
    roi: Any = made[kind](tmp_path) if kind in made else world(100, 300)
    whole = segment(path, make_model())
    found = segment(path, make_model(), input={"roi": roi})
    wanted = np.zeros((SIZE, SIZE), bool)
    wanted[100:300, 100:300] = True
    np.testing.assert_array_equal(found.array[wanted], whole.array[wanted])
    assert (found.array[~wanted] == NODATA).all()
    starts = np.arange(0, SIZE - 64 + 1, 48)
    hit = ((starts < 300) & (starts + 64 > 100)).sum()
    assert found.ran.evaluated == hit**2 < whole.ran.evaluated


def test_a_window_that_meets_the_region_with_its_margin_only_is_not_evaluated(
    path: Path, make_model: MakeModel
) -> None:
    roi = world(100, 300)
    tiling = {"window": [64, 64], "stride": [32, 32], "margin": 16}
    whole = segment(path, make_model(), tiling=tiling)
    found = segment(path, make_model(), tiling=tiling, input={"roi": roi})
    np.testing.assert_array_equal(found.array[100:300, 100:300], whole.array[100:300, 100:300])
    starts = np.arange(0, SIZE - 64 + 1, 32)
    hit = ((starts + 16 < 300) & (starts + 48 > 100)).sum()
    assert found.ran.evaluated == hit**2
    assert found.ran.evaluated + found.ran.skipped == whole.ran.evaluated


def test_a_tile_evaluates_no_window_for_what_others_own(path: Path, make_model: MakeModel) -> None:
    """The region lies in one of two tiles; windows across their border belong to both."""
    tiling = {**TILING, "core": [512, 256]}
    found = segment(path, make_model(), tiling=tiling, input={"roi": world(100, 256)})
    starts = np.arange(0, SIZE - 64 + 1, 48)
    hit = ((starts < 256) & (starts + 64 > 100)).sum()
    assert found.ran.evaluated == hit**2


def test_the_region_does_not_depend_on_the_core(path: Path, make_model: MakeModel) -> None:
    roi = world(100.5, 300.25)
    maps = [
        segment(path, make_model(), input={"roi": roi}, tiling={**TILING, "core": core}).array
        for core in ([512, 512], [96, 160])
    ]
    np.testing.assert_array_equal(*maps)


def test_an_empty_region_leaves_nodata_and_says_so(
    tmp_path: Path, path: Path, make_model: MakeModel
) -> None:
    empty = write_scene(tmp_path / "roi.tif", np.zeros((1, SIZE, SIZE), np.uint8))
    out = tmp_path / "map.tif"
    result = segment(path, make_model(), out, input={"roi": str(empty)})
    assert result.ran.evaluated == 0
    assert any("nothing" in text for text in result.warnings)
    with tiledseg.open_source(out) as source:
        assert (source.read(source.grid.box) == NODATA).all()


# --------------------------------------------------------------------- air


def test_air_is_background_without_a_call(tmp_path: Path, make_model: MakeModel) -> None:
    values = np.zeros((96, 48, 48), np.int16)
    values[48:] = 100 + blocky((48, 48, 48))
    image = sitk.GetImageFromArray(values)
    sitk.WriteImage(image, str(tmp_path / "v.nii.gz"))
    schema = ClassSchema.of_names(["air", "a", "b", "c"], background=0)
    model = make_model(3, 1, schema=schema)
    tiling = {"window": [24, 24, 24]}
    whole = segment(tmp_path / "v.nii.gz", model, tiling=tiling)
    found = segment(tmp_path / "v.nii.gz", model, tiling=tiling, input={"skip_below": 50})
    assert 0 < found.ran.evaluated < whole.ran.evaluated
    assert (found.array[:24] == 0).all()
    np.testing.assert_array_equal(found.array[72:], whole.array[72:])
    assert (found.array != NODATA).all()


def test_air_needs_a_background_class(make_model: MakeModel) -> None:
    with pytest.raises(ConfigError, match="names no background class"):
        segment(np.zeros((3, 64, 64), np.uint8), make_model(), input={"skip_below": 5})


# --------------------------------------------------------------------- local models


def test_windows_that_overlap_by_the_margin_only_give_the_whole_images_map(
    path: Path, scene: np.ndarray, make_model: MakeModel
) -> None:
    """Fewer windows than with half of them overlapping, and not one bit of a seam."""
    model = make_model(margin=12)
    whole = segment(scene, model, tiling={"window": [SIZE, SIZE], "margin": 0})
    assert whole.ran.evaluated == 1
    found = segment(path, model, tiling={"window": [128, 128], "margin": 12})
    halves = segment(path, model, tiling={"window": [128, 128], "stride": [64, 64], "margin": 12})
    np.testing.assert_array_equal(found.array, whole.array)
    np.testing.assert_array_equal(halves.array, whole.array)
    assert found.ran.evaluated < 0.6 * halves.ran.evaluated
