"""Grids agree with GDAL's, ITK's and nibabel's idea of where samples lie."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import rasterio.transform
import SimpleITK as sitk
from hypothesis import assume, given
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes
from numpy.testing import assert_allclose, assert_array_equal

from tiledseg.box import Box
from tiledseg.errors import ConfigError, GridMismatch
from tiledseg.grid import LOCAL, PATIENT, ControlPoint, Grid, Space, SpaceKind
from tiledseg.testing.strategies import grids

ANGLE = st.floats(-math.pi, math.pi)
PLACE = st.floats(-500, 500)
ORIENTATIONS = ["SPL", "RAS", "LPI", "ILP", "PIR", "ASL"]
ANY_GRID = st.one_of(grids(2), grids(3))


@st.composite
def oblique_volumes(draw: st.DrawFn) -> Grid:
    """Draw a patient grid turned by any three angles, mirrored or not."""
    a, b, c = draw(st.tuples(ANGLE, ANGLE, ANGLE))
    turn_x = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    turn_y = [[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]]
    turn_z = [[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]]
    direction = np.array(turn_x) @ turn_y @ turn_z
    direction[:, 2] *= draw(st.sampled_from([-1, 1]))
    return Grid.from_centers(
        draw(st.tuples(*[st.integers(1, 30)] * 3)),
        origin=draw(st.tuples(PLACE, PLACE, PLACE)),
        spacing=draw(st.tuples(*[st.floats(0.05, 20)] * 3)),
        direction=direction,
        space=PATIENT,
    )


def corners(grid: Grid) -> np.ndarray:
    """World places of the outer corners."""
    ends = np.array(np.meshgrid(*[(0, n) for n in grid.shape], indexing="ij"))
    return grid.index_to_world(ends.reshape(grid.ndim, -1).T)


def sample_centres(grid: Grid) -> np.ndarray:
    """World places of all samples, (*shape, n)."""
    return grid.index_to_world(np.moveaxis(np.indices(grid.shape), 0, -1) + 0.5)


def scale_of(grid: Grid) -> float:
    """The largest coordinate, to which rounding is relative."""
    return float(np.abs(corners(grid)).max()) + 1


def assert_same_place(found: object, expected: object, grid: Grid) -> None:
    assert_allclose(found, expected, rtol=0, atol=1e-11 * scale_of(grid))


# --------------------------------------------------------------------- GDAL


@given(grids(2), st.floats(-20, 20), st.floats(-20, 20))
def test_index_to_world_is_gdals_affine(grid: Grid, row: float, column: float) -> None:
    transform = rasterio.Affine(*grid.affine[0], *grid.affine[1])
    expected = rasterio.transform.xy(transform, row, column, offset="ul")
    assert_same_place(grid.index_to_world((row, column)), expected, grid)


@given(grids(2), st.integers(-5, 20), st.integers(-5, 20))
def test_the_centre_of_a_pixel_is_rasterios(grid: Grid, row: int, column: int) -> None:
    transform = rasterio.Affine(*grid.affine[0], *grid.affine[1])
    expected = rasterio.transform.xy(transform, row, column, offset="center")
    assert_same_place(grid.index_to_world((row + 0.5, column + 0.5)), expected, grid)


@given(st.integers(1, 99), st.integers(1, 99), st.floats(0.1, 99), PLACE, PLACE)
def test_bounds_are_rasterios(rows: int, columns: int, size: float, x: float, y: float) -> None:
    transform = rasterio.Affine(size, 0, x, 0, -size, y)
    grid = Grid.from_matrix((rows, columns), np.reshape(transform, (3, 3)))
    left, bottom, right, top = rasterio.transform.array_bounds(rows, columns, transform)
    assert_allclose(grid.bounds, [(left, right), (bottom, top)])
    assert_allclose(grid.sample_measure, size * size)


# --------------------------------------------------------------------- ITK and nibabel


@given(oblique_volumes(), st.tuples(*[st.floats(-20, 40)] * 3))
def test_index_to_world_is_itks_half_a_sample_apart(grid: Grid, index: tuple[float, ...]) -> None:
    image = sitk.Image(grid.shape[::-1], sitk.sitkUInt8)
    centers = grid.centers()
    image.SetOrigin(centers[:3, 3].tolist())
    image.SetSpacing(grid.spacing[::-1])
    image.SetDirection(grid.direction.ravel().tolist())
    expected = image.TransformContinuousIndexToPhysicalPoint(index[::-1])
    found = grid.index_to_world([i + 0.5 for i in index])
    assert_allclose(found, expected, atol=1e-9)
    again = Grid.from_centers(
        image.GetSize()[::-1],
        image.GetOrigin(),
        image.GetSpacing(),
        np.reshape(image.GetDirection(), (3, 3)),
        PATIENT,
    )
    assert_allclose(again.matrix, grid.matrix, atol=1e-9)


@given(oblique_volumes())
def test_orientation_is_nibabels(grid: Grid) -> None:
    assume(np.abs(grid.direction).max(axis=0).min() > 0.8)  # nearly diagonal axes are a draw
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.centers()
    assert grid.orientation == "".join(aff2axcodes(ras)[::-1])


@given(oblique_volumes())
def test_orientation_names_every_axis_once(grid: Grid) -> None:
    assert grid.orientation is not None
    pairs = [pair for c in grid.orientation for pair in ("RL", "AP", "IS") if c in pair]
    assert sorted(pairs) == ["AP", "IS", "RL"]


# --------------------------------------------------------------------- other grids


@given(ANY_GRID, st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=4))
def test_world_to_index_leads_back(grid: Grid, points: list[tuple[float, ...]]) -> None:
    index = np.array(points)[:, : grid.ndim]
    found = grid.world_to_index(grid.index_to_world(index))
    assert_allclose(found, index, atol=1e-9 * scale_of(grid) / min(grid.spacing))


@given(ANY_GRID, st.data())
def test_a_crop_keeps_every_sample_in_place(grid: Grid, data: st.DataObject) -> None:
    start = data.draw(st.tuples(*[st.integers(-30, 30)] * grid.ndim))
    shape = data.draw(st.tuples(*[st.integers(1, 30)] * grid.ndim))
    index = np.array(data.draw(st.tuples(*[st.floats(-5, 30)] * grid.ndim)))
    cropped = grid.crop(Box.of_shape(shape, start))
    assert cropped.shape == shape
    assert_same_place(cropped.index_to_world(index), grid.index_to_world(index + start), grid)


@given(ANY_GRID, st.integers(0, 9))
def test_a_pad_is_undone_by_a_crop(grid: Grid, samples: int) -> None:
    padded = grid.pad(samples)
    assert padded.shape == tuple(n + 2 * samples for n in grid.shape)
    inner = Box.of_shape(grid.shape, (samples,) * grid.ndim)
    assert_same_place(padded.crop(inner).matrix, grid.matrix, grid)


@given(ANY_GRID, st.data())
def test_a_zoom_keeps_the_outer_corners(grid: Grid, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 40)] * grid.ndim))
    zoomed = grid.zoom(shape)
    assert zoomed.shape == shape
    assert_same_place(corners(zoomed), corners(grid), grid)
    measures = [g.sample_measure * np.prod(g.shape) for g in (grid, zoomed)]
    assert_allclose(*measures)


@given(oblique_volumes(), st.sampled_from(ORIENTATIONS))
def test_reorienting_moves_no_sample(grid: Grid, codes: str) -> None:
    turned, axes = grid.reorient(codes)
    places = np.moveaxis(sample_centres(grid), -1, 0)
    assert turned.orientation == codes
    assert_same_place(np.moveaxis(axes.apply(places), 0, -1), sample_centres(turned), grid)


@given(oblique_volumes(), st.sampled_from(ORIENTATIONS), st.data())
def test_reorienting_leads_back(grid: Grid, codes: str, data: st.DataObject) -> None:
    assert grid.orientation is not None
    turned, axes = grid.reorient(codes)
    again, back = turned.reorient(grid.orientation)
    assert back == axes.inverse
    assert_same_place(again.matrix, grid.matrix, grid)
    array = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    assert_array_equal(back.apply(axes.apply(array)), array)
    start = data.draw(st.tuples(*[st.integers(0, n - 1) for n in grid.shape]))
    box = Box(start, grid.shape)
    assert_array_equal(
        axes.apply(array)[axes.box(box, grid.shape).slices], axes.apply(array[box.slices])
    )
    assert back.box(axes.box(box, grid.shape), turned.shape) == box


def test_reorienting_asks_for_a_patient_and_three_axes() -> None:
    volume = Grid.from_centers((2, 3, 4), (0, 0, 0), (1, 1, 1), space=PATIENT)
    with pytest.raises(ConfigError, match="asks for patient space"):
        Grid.local((2, 3, 4)).reorient("RAS")
    for codes in ("RAX", "RA", "RLS", ""):
        with pytest.raises(ConfigError, match="one of R/L, A/P and I/S each"):
            volume.reorient(codes)


# --------------------------------------------------------------------- comparing, keeping


@given(ANY_GRID, st.floats(0, 0.009), st.floats(0.011, 5))
def test_alike_means_within_a_hundredth_of_a_sample(grid: Grid, near: float, far: float) -> None:
    assume(scale_of(grid) / min(grid.spacing) < 1e9)  # beyond, rounding is a part of a sample

    def moved(samples: float) -> Grid:
        matrix = grid.matrix.copy()
        matrix[:-1, -1] += samples * matrix[:-1, 0]
        return Grid.from_matrix(grid.shape, matrix, grid.space)

    assert grid.like(grid)
    assert grid.like(moved(near))
    assert not grid.like(moved(far))
    assert not grid.like(grid.pad(1))
    grid.require_like(moved(near), "second")
    with pytest.raises(GridMismatch, match="second must lie on the grid"):
        grid.require_like(moved(far), "second")


def test_another_space_is_not_alike() -> None:
    grid = Grid.local((3, 4))
    utm = Grid(grid.shape, grid.affine, Space(SpaceKind.PROJECTED, "EPSG:32632", 1.0))
    assert not grid.like(utm)


@given(ANY_GRID, st.sampled_from([LOCAL, PATIENT, Space(SpaceKind.PROJECTED, "PROJCS[]", 0.3048)]))
def test_json_keeps_every_bit(grid: Grid, space: Space) -> None:
    points = (ControlPoint(0.5, 1.25, 7.1, 50.3), ControlPoint(3, 4, 7.2, 50.2, 11.0))
    kept = Grid(grid.shape, grid.affine, space, points)
    again = Grid.from_dict(json.loads(json.dumps(kept.to_dict())))
    assert again == kept
    assert hash(again) == hash(kept)


def test_control_points_follow_a_crop() -> None:
    points = (ControlPoint(10.0, 20.0, 7.1, 50.3),)
    grid = Grid((40, 50), Grid.local((40, 50)).affine, LOCAL, points)
    (moved,) = grid.crop(Box((4, 5), (30, 30))).control
    assert moved == ControlPoint(6.0, 15.0, 7.1, 50.3)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 2, 0], [2, 4, 0], [0, 0, 1]], "singular"),
        ([[0, 0, 0], [0, 1, 0], [0, 0, 1]], "singular"),
        ([[1, 0, math.nan], [0, 1, 0], [0, 0, 1]], "not finite"),
        ([[math.inf, 0, 0], [0, 1, 0], [0, 0, 1]], "not finite"),
        (np.eye(4), "3 x 3"),
    ],
)
def test_an_affine_that_places_nothing_is_refused(matrix: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grid.from_matrix((3, 4), matrix)


@pytest.mark.parametrize("shape", [(0, 4), (4,), (1, 2, 3, 4)])
def test_a_grid_has_two_or_three_axes_with_samples(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="2 or 3 axes"):
        Grid.local(shape)
