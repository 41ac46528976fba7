"""A volume seen along other axes; SimpleITK's DICOMOrient is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tiledseg.errors import ConfigError
from tiledseg.grid import LOCAL, PATIENT, Grid
from tiledseg.io import MemorySink, MemorySource, OrientedSink, OrientedSource, SinkSpec
from tiledseg.testing.strategies import boxes, grids

TILT = np.deg2rad(16.5)
GANTRY = Grid.from_centers(
    (5, 6, 7),
    origin=(-30.0, 20.0, 400.0),
    spacing=(0.7, 0.8, 2.5),
    direction=[[0, -np.sin(TILT), np.cos(TILT)], [-1, 0, 0], [0, np.cos(TILT), np.sin(TILT)]],
    space=PATIENT,
)
CODES = ["SPL", "RAS", "ILP", "PIR", "ASL"]


def values_of(grid: Grid) -> np.ndarray:
    return np.arange(np.prod(grid.shape), dtype="int32").reshape(1, *grid.shape)


def itk_image(source) -> sitk.Image:
    image = sitk.GetImageFromArray(source.read(source.grid.box)[0])
    centers = source.grid.centers()
    image.SetSpacing(source.grid.spacing[::-1])
    image.SetOrigin(centers[:3, 3].tolist())
    image.SetDirection(source.grid.direction.ravel().tolist())
    return image


@pytest.mark.parametrize("codes", CODES)
def test_samples_and_place_are_those_of_itk(codes):
    stored = MemorySource(values_of(GANTRY), GANTRY)
    seen = OrientedSource(stored, codes)
    oracle = sitk.DICOMOrient(itk_image(stored), codes[::-1])  # ITK's letters are x, y, z
    mine = itk_image(seen)
    assert seen.grid.orientation == codes
    assert_array_equal(sitk.GetArrayFromImage(oracle), sitk.GetArrayFromImage(mine))
    assert_allclose(mine.GetOrigin(), oracle.GetOrigin(), atol=1e-9)
    assert_allclose(mine.GetDirection(), oracle.GetDirection(), atol=1e-9)
    assert_allclose(mine.GetSpacing(), oracle.GetSpacing(), atol=1e-9)


@given(grids(3), st.sampled_from(CODES), st.data())
def test_every_sample_keeps_its_place_in_the_world(grid, codes, data):
    centres = np.moveaxis(np.indices(grid.shape), 0, -1) + 0.5
    world = np.moveaxis(grid.index_to_world(centres), -1, 0)
    seen = OrientedSource(MemorySource(world, grid), codes)
    box = data.draw(boxes(seen.grid.shape))
    here = np.moveaxis(np.indices(box.shape), 0, -1) + np.array(box.start) + 0.5
    expected = np.moveaxis(seen.grid.index_to_world(here), -1, 0)
    assert_allclose(seen.read(box), expected, rtol=1e-9, atol=1e-6)


@given(grids(3), st.sampled_from(CODES), st.data())
def test_what_is_read_turned_is_written_back_in_place(grid, codes, data):
    stored = MemorySource(values_of(grid), grid)
    seen = OrientedSource(stored, codes)
    inner = MemorySink(SinkSpec(grid, np.dtype("int32"), ("class",), None))
    sink = OrientedSink(inner, grid.reorient(codes)[1])
    sink.prepare()
    cut = data.draw(st.integers(0, seen.grid.shape[0]))
    for rows in ((0, cut), (cut, seen.grid.shape[0])):
        box = seen.grid.box.along(0, *rows)
        sink.write(box, seen.read(box))
    sink.commit()
    assert_array_equal(inner.array, stored.read(grid.box))


def test_blocks_and_validity_turn_along():
    array = values_of(GANTRY)
    stored = MemorySource(array, GANTRY, nodata=0.0)
    seen = OrientedSource(stored, "RAS")
    axes = GANTRY.reorient("RAS")[1]
    assert seen.blocks == tuple(stored.blocks[a] for a in axes.order)
    assert_array_equal(seen.valid(seen.grid.box), seen.read(seen.grid.box)[0] != 0)
    values, _ = seen.overview(100)
    assert_array_equal(values, seen.read(seen.grid.box))


def test_only_patient_space_has_an_orientation():
    flat = MemorySource(np.ones((1, 2, 2, 2)), Grid.local((2, 2, 2)))
    assert flat.grid.space == LOCAL
    with pytest.raises(ConfigError, match="asks for patient space"):
        OrientedSource(flat, "RAS")


def test_commit_and_abort_reach_the_inner_sink(tmp_path):
    inner = MemorySink(SinkSpec(GANTRY, np.dtype("u1"), ("class",), None))
    sink = OrientedSink(inner, GANTRY.reorient("RAS")[1])
    sink.prepare()
    assert inner.array.shape == (1, *GANTRY.shape)
    sink.abort()
    assert inner.array.size == 0
