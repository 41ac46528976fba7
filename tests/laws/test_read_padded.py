"""Reading beyond the border equals numpy's padding of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tiledseg.box import Box
from tiledseg.io import MemorySource
from tiledseg.io._base import centred_picks, read_padded

NODATA = 0
ROOM = 40  # samples that a box may stick out, several times the image


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    """Draw two channels on a small plane or volume, with some samples not measured."""
    shape = draw(st.lists(st.integers(1, 9), min_size=2, max_size=3))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(0, 4, (2, *shape)).astype(np.uint8)


@st.composite
def boxes_near(draw: st.DrawFn, shape: tuple[int, ...]) -> Box:
    """Draw a box anywhere within ``ROOM`` of the image, outside it too."""
    start = tuple(draw(st.integers(-ROOM, n + ROOM - 1)) for n in shape)
    stop = tuple(draw(st.integers(a + 1, n + ROOM)) for a, n in zip(start, shape, strict=True))
    return Box(start, stop)


@given(images(), st.sampled_from(["reflect", "edge"]), st.data())
def test_padding_is_numpys(image: np.ndarray, padding: str, data: st.DataObject) -> None:
    shape = image.shape[1:]
    box = data.draw(boxes_near(shape))
    values, valid = read_padded(MemorySource(image, nodata=NODATA), box, padding)
    place = box.shift((ROOM,) * len(shape)).slices
    around = [(ROOM, ROOM)] * len(shape)
    assert_array_equal(values, np.pad(image, [(0, 0), *around], mode=padding)[:, *place])
    measured = (image != NODATA).any(axis=0)
    assert_array_equal(valid, np.pad(measured, around, mode=padding)[place])


@given(images(), st.data())
def test_zero_padding_is_not_valid(image: np.ndarray, data: st.DataObject) -> None:
    shape = image.shape[1:]
    box = data.draw(boxes_near(shape))
    values, valid = read_padded(MemorySource(image, nodata=NODATA), box, "zero")
    place = box.shift((ROOM,) * len(shape)).slices
    around = [(ROOM, ROOM)] * len(shape)
    measured = (image != NODATA).any(axis=0)
    assert_array_equal(valid, np.pad(measured, around)[place])
    expected = np.pad(image, [(0, 0), *around])[:, *place]
    assert_array_equal(np.where(valid, values, 0), expected)


@given(images(), st.sampled_from(["reflect", "edge", "zero"]), st.data())
def test_a_padded_sample_does_not_depend_on_the_box(
    image: np.ndarray, padding: str, data: st.DataObject
) -> None:
    source = MemorySource(image, nodata=NODATA)
    one, other = data.draw(boxes_near(image.shape[1:])), data.draw(boxes_near(image.shape[1:]))
    common = one.intersect(other)
    seen = []
    for box in (one, other):
        values, valid = read_padded(source, box, padding)
        place = common.relative_to(box).slices
        seen.append((values[:, *place], valid[place]))
    assert_array_equal(seen[0][0], seen[1][0])
    assert_array_equal(seen[0][1], seen[1][1])


@given(images(), st.integers(1, 12), st.integers(1, 12))
def test_an_overview_is_the_image_at_the_picks(image: np.ndarray, limit: int, rows: int) -> None:
    source = MemorySource(image, nodata=NODATA)
    source.blocks = (rows, *source.blocks[1:])
    values, valid = source.overview(limit)
    at = np.ix_(*(centred_picks(n, limit) for n in image.shape[1:]))
    assert_array_equal(values, image[:, *at])
    assert_array_equal(valid, (image != NODATA).any(axis=0)[at])


class CountedSource(MemorySource):
    """Remembers the most rows that were read at once."""

    most = 0

    def read(self, box: Box) -> np.ndarray:
        self.most = max(self.most, box.shape[0])
        return super().read(box)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 20))
def test_an_overview_reads_no_more_rows_than_a_block_at_once(
    extent: int, limit: int, rows: int
) -> None:
    source = CountedSource(np.zeros((1, extent, 2), np.uint8))
    source.blocks = (rows, 2)
    source.overview(limit)
    assert 1 <= source.most <= (rows if extent > limit else extent)  # all of it is returned


@given(st.integers(1, 10**9), st.integers(1, 2000))
def test_picks_lie_in_the_middle_of_equal_parts(extent: int, limit: int) -> None:
    picks = centred_picks(extent, limit).tolist()
    m = min(extent, limit)
    assert picks == [(2 * i + 1) * extent // (2 * m) for i in range(m)]


@pytest.mark.parametrize("padding", ["reflect", "edge", "zero"])
def test_an_inner_box_is_read_as_it_is(padding: str) -> None:
    image = np.arange(60, dtype=np.int16).reshape(1, 6, 10)
    values, valid = read_padded(MemorySource(image), Box((1, 2), (4, 9)), padding)
    assert_array_equal(values, image[:, 1:4, 2:9])
    assert valid.all()
