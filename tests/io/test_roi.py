"""Regions of interest: rasterio's mask of the whole image, and numpy, are the oracles."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from rasterio.features import geometry_mask
from rasterio.transform import Affine

from tiledseg.box import Box
from tiledseg.errors import ConfigError, GridMismatch
from tiledseg.grid import PATIENT, Grid, Space, SpaceKind
from tiledseg.io import BoxRoi, MaskRoi, MemorySource, PolygonRoi, Roi, open_source
from tiledseg.io._roi import _box, _mask, _polygons
from tiledseg.testing.strategies import grids


def turned(shape: tuple[int, int], angle: float, size: float = 10.0) -> Grid:
    """A grid far from the origin whose rows run ``angle`` off the world's x."""
    matrix = np.eye(3)
    matrix[:2, :2] = [[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]]
    matrix[:2, :2] *= size
    matrix[:2, 2] = (500_000.3, 5_400_000.7)
    return Grid.from_matrix(shape, matrix)


def centres(grid: Grid) -> np.ndarray:
    """World (x, y[, z]) of every sample's centre, (*shape, n)."""
    return grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1) + 0.5)


def cut(whole: np.ndarray, box: Box) -> np.ndarray:
    """A box of an array that is False outside."""
    result = np.zeros(box.shape, bool)
    inside = box.intersect(Box.of_shape(whole.shape))
    if inside.size:
        result[inside.relative_to(box).slices] = whole[inside.slices]
    return result


@st.composite
def loose_boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> Box:
    """A box that may stick out of the image, miss it, or be empty."""
    start = tuple(draw(st.integers(-7, n + 3)) for n in shape)
    return Box(
        start, tuple(a + draw(st.integers(0, n + 9)) for a, n in zip(start, shape, strict=True))
    )


# ----------------------------------------------------------------- bounds


@settings(deadline=None)
@given(st.sampled_from([2, 3]).flatmap(grids), st.data())
def test_bounds_hold_the_samples_whose_centres_numpy_finds(grid: Grid, data: st.DataObject):
    bounds = []
    for low, high in grid.bounds:
        ends = sorted(data.draw(st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2))))
        bounds.append((low + ends[0] * (high - low), low + (ends[1] + 0.01) * (high - low)))
    at = centres(grid)
    lows, highs = np.array(bounds).T
    expected = ((at >= lows) & (at < highs)).all(axis=-1)
    extent = np.ptp(np.array(grid.bounds), axis=1)
    apart = np.minimum(np.abs(at - lows), np.abs(at - highs)) / extent
    if apart.min() < 1e-7:  # a centre on a bound: its rounding decides
        return
    try:
        roi = BoxRoi(grid, tuple(bounds))
    except ConfigError:
        assert not expected.any()
        return
    assert_array_equal(roi.mask(grid.box), expected)
    box = data.draw(loose_boxes(grid.shape))
    assert_array_equal(roi.mask(box), cut(expected, box))


def test_the_low_bound_belongs_to_the_roi_and_the_high_bound_does_not():
    grid = Grid.local((4, 4))
    roi = BoxRoi(grid, ((0.5, 2.5), (1.5, 2.5)))
    expected = np.zeros((4, 4), bool)
    expected[1, 0:2] = True
    assert_array_equal(roi.mask(grid.box), expected)


def test_bounds_of_a_sheared_image_hold_their_low_end_too():
    grid = Grid.from_matrix((4, 4), [[1, 1, 0], [0, 1, 0], [0, 0, 1]])  # x = column + row + 1
    row, column = np.indices((4, 4))
    mask = BoxRoi(grid, ((3, 5), (0.5, 2.5))).mask(grid.box)
    x = column + row + 1
    assert_array_equal(mask, (x >= 3) & (x < 5) & (row < 2))


def test_neighbouring_bounds_share_no_sample_and_lose_none():
    grid = turned((30, 40), 0.3)
    (west, east), (south, north) = grid.bounds
    middle = (west + east) / 2
    left = BoxRoi(grid, ((west, middle), (south, north))).mask(grid.box)
    right = BoxRoi(grid, ((middle, east), (south, north))).mask(grid.box)
    assert left.any()
    assert (left ^ right).all()


TILT = np.deg2rad(16.5)
GANTRY = Grid.from_centers(
    (9, 8, 7),
    origin=(-30.0, 20.0, 400.0),
    spacing=(0.7, 0.8, 2.5),
    direction=[[0, -np.sin(TILT), np.cos(TILT)], [-1, 0, 0], [0, np.cos(TILT), np.sin(TILT)]],
    space=PATIENT,
)


@pytest.mark.parametrize("grid", [GANTRY, turned((40, 50), 0.3)], ids=["volume", "scene"])
@pytest.mark.parametrize("piece", [1, 100])
def test_a_tilted_image_is_judged_piece_by_piece(monkeypatch, grid: Grid, piece: int):
    monkeypatch.setattr(_box, "PIECE", piece)
    third = [(high - low) / 3 for low, high in grid.bounds]
    bounds = tuple((a + t, b - t) for (a, b), t in zip(grid.bounds, third, strict=True))
    roi = BoxRoi(grid, bounds)
    lows, highs = np.array(bounds).T
    at = centres(grid)
    expected = ((at >= lows) & (at < highs)).all(axis=-1)
    assert 0 < expected.sum() < expected.size
    box = Box((-2,) * grid.ndim, tuple(n + 3 for n in grid.shape))
    assert_array_equal(roi.mask(box), cut(expected, box))


def test_bounds_that_make_no_sense():
    flat = Grid.local((10, 10))
    with pytest.raises(ConfigError, match=r"4 numbers, found 6"):
        BoxRoi(flat, ((0, 1), (0, 1), (0, 1)))
    with pytest.raises(ConfigError, match=r"along y must be two finite numbers.* 3 and 3;"):
        BoxRoi(flat, ((0, 1), (3, 3)))
    with pytest.raises(ConfigError, match="along x must be two finite numbers"):
        BoxRoi(flat, ((float("nan"), 1), (0, 3)))
    with pytest.raises(ConfigError, match="along x must be two finite numbers"):
        BoxRoi(flat, ((0, float("inf")), (0, 3)))
    with pytest.raises(ConfigError, match="centre of a sample, found none along x"):
        BoxRoi(flat, ((0.6, 0.9), (0, 3)))


def test_bounds_beside_the_image():
    told = r"lies outside the image \(image bounds \(0, 0, 10, 10\), roi bounds \(20, 0, 30, 5\)\)"
    with pytest.raises(ConfigError, match=told):
        BoxRoi(Grid.local((10, 10)), ((20, 30), (0, 5)))
    grid = turned((10, 10), np.pi / 4)
    (west, _), (_, north) = grid.bounds  # a corner of the extent that no sample lies in
    with pytest.raises(ConfigError, match="lies outside the image"):
        BoxRoi(grid, ((west, west + 5), (north - 5, north)))


# ----------------------------------------------------------------- polygons


@st.composite
def stars(draw: st.DrawFn, shape: tuple[int, int]) -> shapely.Polygon:
    """A polygon with a hole around a place in the image, in (x, y) index units."""
    seed = draw(st.integers(0, 2**31))
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, 9))
    ring = np.c_[np.cos(angles), np.sin(angles)]
    radii = random.uniform(4, 25, (9, 1))
    at = random.uniform(0, 1, 2) * shape[::-1]
    star = shapely.Polygon(at + ring * radii, [at + ring * radii / 3]).buffer(0)
    # Of vertices a roi would round itself, one in a million changes a sample.
    return shapely.transform(star, lambda points: np.round(points * 2**20) / 2**20)


def to_world(geometry: shapely.Geometry, grid: Grid) -> shapely.Geometry:
    return shapely.transform(geometry, lambda p: grid.index_to_world(p[:, ::-1]))


def oracle(geometries: list[shapely.Geometry], grid: Grid) -> np.ndarray:
    transform = Affine(*grid.matrix[:2].ravel())
    return geometry_mask(geometries, grid.shape, transform, invert=True)


@settings(deadline=None, max_examples=150)
@given(
    angle=st.floats(0, 6.3),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    data=st.data(),
)
def test_polygons_by_box_are_those_rasterio_burns_into_the_whole_image(angle, shape, data):
    grid = turned(shape, angle)
    drawn = [to_world(data.draw(stars(shape)), grid) for _ in range(data.draw(st.integers(1, 3)))]
    geometries = [shapely.MultiPolygon([p]) if p.geom_type == "Polygon" else p for p in drawn]
    expected = oracle(drawn, grid)
    try:
        roi = PolygonRoi(grid, geometries[:1] + drawn[1:])
    except ConfigError:
        assert not expected.any()
        return
    assert_array_equal(roi.mask(grid.box), expected)
    box = data.draw(loose_boxes(shape))
    assert_array_equal(roi.mask(box), cut(expected, box))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.data())
def test_a_sample_on_an_edge_is_in_or_out_in_every_box(seed: int, data: st.DataObject):
    """Vertices on sample centres, as shapes drawn on another map of the same samples have."""
    matrix = np.array([[0.1, 0, 500_000.3], [0, -0.1, 5_400_000.7], [0, 0, 1]])
    grid = Grid.from_matrix((70, 90), matrix)
    points = np.random.default_rng(seed).integers(0, 70, (6, 2)) + 0.5
    hull = shapely.convex_hull(shapely.MultiPoint(points))
    roi = PolygonRoi(grid, [to_world(hull, grid)])
    expected = oracle([hull], Grid.local(grid.shape))  # where halves are exact
    box = data.draw(loose_boxes(grid.shape))
    assert_array_equal(roi.mask(box), cut(expected, box))


def test_the_smallest_polygon_is_found_from_every_box():
    grid = Grid.local((5, 6))
    for row, column in np.ndindex(grid.shape):
        dot = shapely.box(column + 0.4, row + 0.4, column + 0.6, row + 0.6)
        expected = np.zeros(grid.shape, bool)
        expected[row, column] = True
        roi = PolygonRoi(grid, [dot, dot])
        for start in np.ndindex(grid.shape):
            box = Box.of_shape((2, 2), start)
            assert_array_equal(roi.mask(box), cut(expected, box))


def test_pieces_of_polygons_join(monkeypatch):
    grid = turned((50, 60), 0.5)
    shape = to_world(shapely.Point(30, 25).buffer(18.3), grid)
    monkeypatch.setattr(_polygons, "_BURN_PIECE", 100)
    assert_array_equal(PolygonRoi(grid, [shape]).mask(grid.box), oracle([shape], grid))


def test_a_polygon_far_larger_than_the_image_holds_it():
    grid = Grid.local((20, 30))
    far = 1e13
    ell = [(-far, -far), (far, -far), (far, far), (12, far), (12, 8), (-far, 8)]
    expected = np.zeros((20, 30), bool)
    expected[:8] = True
    expected[:, 12:] = True
    assert_array_equal(PolygonRoi(grid, [shapely.Polygon(ell)]).mask(grid.box), expected)


def test_several_threads_may_ask_at_once():
    grid = turned((400, 400), 0.2)
    shape = to_world(shapely.Point(200, 200).buffer(150.3), grid)
    roi, expected = PolygonRoi(grid, [shape]), oracle([shape], grid)
    boxes = [Box((a, b), (a + 50, b + 50)) for a in range(0, 400, 50) for b in range(0, 400, 50)]
    with ThreadPoolExecutor(8) as pool:
        for box, mask in zip(boxes, pool.map(roi.mask, boxes), strict=True):
            assert_array_equal(mask, expected[box.slices])


def test_polygons_that_make_no_sense():
    flat, square = Grid.local((10, 10)), shapely.box(2, 2, 5, 5)
    told = r"roi a\.gpkg lies outside the image .*roi bounds \(20, 0, 30, 5\)"
    with pytest.raises(ConfigError, match=told):
        PolygonRoi(flat, [shapely.box(20, 0, 30, 5)], "a.gpkg")
    with pytest.raises(ConfigError, match="found 0 shapes"):
        PolygonRoi(flat, [shapely.Polygon()])
    with pytest.raises(ConfigError, match="must hold polygons and nothing else"):
        PolygonRoi(flat, [square, shapely.Point(3, 3)])
    with pytest.raises(ConfigError, match="need a 2-D image, and this one is 3-D"):
        PolygonRoi(Grid.local((3, 10, 10)), [square])


# ----------------------------------------------------------------- masks


@pytest.mark.parametrize("piece", [1, 1000])
def test_a_raster_mask_is_where_it_is_measured_and_not_zero(tmp_path: Path, monkeypatch, piece):
    monkeypatch.setattr(_mask, "PIECE", piece)
    values = np.random.default_rng(0).choice([0, 1, 2, 9], (40, 50)).astype("uint8")
    profile = {"driver": "GTiff", "dtype": "uint8", "nodata": 9, "tiled": True}
    profile |= {"height": 40, "width": 50, "count": 1, "blockxsize": 16, "blockysize": 16}
    profile |= {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5.4e6)}
    with rasterio.open(tmp_path / "m.tif", "w", **profile) as file:
        file.write(values, 1)
    expected = (values == 1) | (values == 2)
    with open_source(tmp_path / "m.tif") as source:
        roi = MaskRoi(source.grid, source)
        for box in (source.grid.box, Box((-3, 20), (17, 60)), Box((50, 0), (60, 9))):
            assert_array_equal(roi.mask(box), cut(expected, box))
        assert roi.working_bytes > source.working_bytes


def test_what_is_no_number_is_not_wanted():
    values = np.array([[[0.0, 1.5, np.nan], [np.inf, -2.0, 0.0]]])
    source = MemorySource(values)
    expected = [[False, True, False], [False, True, False]]
    assert_array_equal(MaskRoi(source.grid, source).mask(source.grid.box), expected)


def test_a_mask_on_another_grid():
    grid = Grid.from_matrix((4, 4), np.diag([10.0, 10.0, 1.0]))
    moved = grid.crop(Box((1, 0), (5, 4)))
    with pytest.raises(GridMismatch, match=r"roi m must lie on the image's grid: found .*; expec"):
        MaskRoi(grid, MemorySource(np.ones((1, 4, 4)), moved, uri="m"))
    placed = Grid(grid.shape, grid.affine, Space(SpaceKind.PROJECTED, 'PROJCRS["UTM 33"]', 1.0))
    with pytest.raises(GridMismatch, match=r"found .* local; expected .* projected UTM 33;"):
        MaskRoi(placed, MemorySource(np.ones((1, 4, 4)), grid, uri="m"))


def test_a_mask_of_several_channels():
    source = MemorySource(np.ones((3, 4, 4)), uri="m")
    with pytest.raises(ConfigError, match="roi m must have one channel, found 3"):
        MaskRoi(source.grid, source)


class Closed(MemorySource):
    closed = False

    def close(self) -> None:
        self.closed = True


def test_closing_a_roi_closes_its_mask():
    source = Closed(np.ones((1, 4, 4)))
    MaskRoi(source.grid, source).close()
    assert source.closed


# ----------------------------------------------------------------- identity


def test_every_roi_has_its_own_fingerprint_and_keeps_it():
    grid = Grid.local((10, 10))

    def all_of_them() -> list[Roi]:
        square, other = shapely.box(2, 2, 5, 5), shapely.box(2, 2, 5, 6)
        ones, some = np.ones((1, 10, 10)), np.ones((1, 10, 10))
        some[0, 3, 3] = 0
        return [
            BoxRoi(grid, ((2, 5), (2, 5))),
            BoxRoi(grid, ((2, 5), (2, 6))),
            PolygonRoi(grid, [square]),
            PolygonRoi(grid, [other]),
            PolygonRoi(grid, [square, other]),
            MaskRoi(grid, MemorySource(ones)),
            MaskRoi(grid, MemorySource(some)),
        ]

    told = [json.dumps(roi.fingerprint()) for roi in all_of_them()]
    assert len(set(told)) == len(told)
    assert told == [json.dumps(roi.fingerprint()) for roi in all_of_them()]
