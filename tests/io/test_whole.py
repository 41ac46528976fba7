"""Statistics of every sample against numpy's, to the bit; boxes and masks against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes

import tiledseg.io._nonzero
import tiledseg.io._whole
from tiledseg.box import Box
from tiledseg.grid import AxisMap
from tiledseg.io import (
    Cropped,
    CroppedSource,
    FilledMask,
    MemorySource,
    NormalizedSource,
    OrientedSource,
    nonzero_box,
)
from tiledseg.io._whole import fit_whole
from tiledseg.normalize import Clip, Normalization, Standard, WholeImage

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of tests are read in many pieces, as large ones are."""
    monkeypatch.setattr(tiledseg.io._nonzero, "_PIECE", 3000)
    monkeypatch.setattr(tiledseg.io._whole, "_LEAF", 4096)


def fitted(source: MemorySource, box: Box, axes: tuple[int, ...] | None, how: str) -> Standard:
    """Return what a channel is fitted to, seen along other axes and cropped."""
    order = (0, 1, 2) if axes is None else axes
    turned = OrientedSource(source, AxisMap(order, (False,) * 3))
    chain = Normalization((WholeImage((how,)),))
    place = Cropped(turned.grid.shape, axes)
    (step,) = fit_whole(CroppedSource(turned, box), chain, place).steps
    assert isinstance(step, Standard)
    return step


@pytest.mark.parametrize("axes", [None, (2, 0, 1), (1, 0, 2), (0, 2, 1)])
@pytest.mark.parametrize(
    ("shape", "cut"),
    [
        ((21, 30, 26), ((0, 21), (0, 30), (0, 26))),
        ((21, 30, 26), ((2, 19), (0, 30), (0, 26))),
        ((21, 30, 26), ((2, 19), (3, 27), (0, 26))),
        ((21, 30, 26), ((2, 19), (3, 27), (1, 25))),
        ((6, 120, 260), ((1, 5), (5, 105), (7, 250))),
        ((3, 9, 9000), ((0, 3), (2, 8), (5, 8900))),
        ((40, 1, 31), ((3, 38), (0, 1), (1, 29))),
    ],
)
def test_mean_and_deviation_have_numpys_bits(
    shape: tuple[int, int, int], cut: tuple[tuple[int, int], ...], axes: tuple[int, ...] | None
) -> None:
    """nnU-Net sums a part of a turned array: the order of its sum shows in the last bits."""
    values = np.random.default_rng(sum(shape)).normal(300, 80, shape).astype(np.float32)
    order = (0, 1, 2) if axes is None else axes
    box = Box(*zip(*(cut[axis] for axis in order), strict=True))
    part = values.transpose(order)[box.slices]
    found = fitted(MemorySource(values[None]), box, axes, "score")
    assert found.mean[0] == float(part.mean())
    assert found.std[0] == float(part.std())


@given(SEEDS, st.floats(0.2, 0.8))
@settings(max_examples=25, deadline=None)
def test_masked_scores_have_numpys_bits(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(300, 80, (14, 17, 19)).astype(np.float32)
    values[rng.random(values.shape) < share] = 0
    mask = binary_fill_holes(values != 0)
    inside = values[mask]
    source = MemorySource(values[None])
    found = fitted(source, source.grid.box, None, "score_nonzero")
    assert found == Standard((float(inside.mean()),), (float(inside.std()),))


def test_ranges_and_channels_that_are_kept() -> None:
    values = np.random.default_rng(1).normal(300, 80, (2, 9, 8, 7)).astype(np.float32)
    source = MemorySource(values)
    chain = Normalization((Clip((200.0, -1e30), (400.0, 1e30)), WholeImage(("keep", "range"))))
    units = fit_whole(source, chain, Cropped((9, 8, 7)))
    found = NormalizedSource(source, units).read(source.grid.box)
    np.testing.assert_array_equal(found[0], values[0].clip(200, 400))
    expected = values[1] - values[1].min()
    np.testing.assert_array_equal(found[1], expected / expected.max())


@given(SEEDS, st.floats(0.05, 0.95), st.sampled_from([(11, 13, 9), (40, 3, 5), (23, 31)]))
@settings(max_examples=60, deadline=None)
def test_holes_are_filled_as_scipy_fills_them(
    seed: int, share: float, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.random((2, *shape)) < share / 2).astype(np.uint8)
    source = MemorySource(values)
    tiledseg.io._nonzero._PIECE = 150
    mask = FilledMask(source)
    expected = binary_fill_holes(values.any(axis=0))
    np.testing.assert_array_equal(mask.read(source.grid.box), expected)
    low = [int(rng.integers(0, n)) for n in shape]
    high = [int(rng.integers(a, n)) + 1 for a, n in zip(low, shape, strict=True)]
    box = Box(tuple(low), tuple(high))
    np.testing.assert_array_equal(mask.read(box), expected[box.slices])
    found, places = nonzero_box(source), np.argwhere(expected)
    if not len(places):
        assert found is None
        return
    assert found == Box(tuple(places.min(axis=0).tolist()), tuple((places.max(0) + 1).tolist()))


def test_what_is_outside_of_the_mask_is_zero_in_masked_channels_only() -> None:
    values = np.zeros((2, 6, 7, 8), np.int16)
    values[:, 2:5, 2:5, 2:6] = 50
    values[:, 3, 3, 3] = 0  # a hole
    source = MemorySource(values)
    units = Normalization((Standard((10.0, 10.0), (2.0, 4.0)),))
    found = NormalizedSource(source, units, FilledMask(source), (1,)).read(source.grid.box)
    assert found[:, 0, 0, 0].tolist() == [-5, 0]
    assert found[:, 3, 3, 3].tolist() == [-5, -2.5]
    assert found[:, 2, 2, 2].tolist() == [20, 10]


def test_what_was_not_measured_stays_so() -> None:
    values = np.ones((1, 4, 4), np.float32)
    values[0, 1, 2] = np.nan
    source = NormalizedSource(MemorySource(values), Normalization((Standard((3.0,), (1.0,)),)))
    box = source.grid.box
    found = source.read(box)
    assert np.isnan(found).sum() == 1
    assert (found[~np.isnan(found)] == -2).all()
