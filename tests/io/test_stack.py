"""Several images as channels of one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tiledseg.errors import ConfigError, GridMismatch
from tiledseg.grid import Grid
from tiledseg.io import MemorySource, StackedSource, open_source


def image(count: int = 1, dtype: str = "uint8", **given) -> MemorySource:
    return MemorySource(np.full((count, 4, 5), 3, dtype), **given)


def test_names_are_kept_unless_they_collide():
    apart = StackedSource([image(channels=("red",)), image(channels=("nir",))])
    assert apart.channels == ("red", "nir")
    alike = StackedSource([image(2), image()])
    assert len(set(alike.channels)) == 3


@pytest.mark.parametrize(
    ("first", "second", "dtype"),
    [("uint8", "uint16", "uint16"), ("uint16", "int16", "int32"), ("int16", "float32", "float32")],
)
def test_dtype_holds_every_image(first, second, dtype):
    source = StackedSource([image(dtype=first), image(dtype=second)])
    assert source.dtype == source.read(source.grid.box).dtype == np.dtype(dtype)
    assert source.nodata is None


def test_a_sample_is_valid_where_all_images_are():
    a, b = np.ones((2, 1, 1, 3), "uint8")
    a[0, 0, 0] = b[0, 0, 2] = 0
    source = StackedSource([MemorySource(a, nodata=0), MemorySource(b, nodata=0)])
    assert source.valid(source.grid.box).tolist() == [[False, True, False]]


def test_images_on_other_grids_are_refused():
    moved = Grid.local((4, 5)).crop(Grid.local((4, 5)).box.shift((0, 1)))
    with pytest.raises(GridMismatch, match=r"second\.tif must lie on the grid of the first"):
        StackedSource([image(), image(grid=moved, uri="second.tif")])


def test_fingerprint_knows_the_order():
    a, b = image(), image(2)
    assert StackedSource([a, b]).fingerprint() != StackedSource([b, a]).fingerprint()


def test_close_closes_all():
    closed = []

    class Closing(MemorySource):
        def close(self):
            closed.append(self.uri)

    parts = [Closing(np.ones((1, 2, 2)), uri=name) for name in ("a", "b")]
    StackedSource(parts).close()
    assert closed == ["a", "b"]


def test_a_list_of_arrays_or_sources_is_stacked():
    array = np.full((4, 5), 7, "uint8")
    source = open_source([array, image(2)])
    assert_array_equal(source.read(source.grid.box)[:, 0, 0], [7, 3, 3])


def test_lists_that_say_nothing_are_refused():
    with pytest.raises(ConfigError, match="no image was given"):
        open_source([])
    with pytest.raises(ConfigError, match="channels cannot be chosen from several images"):
        open_source([np.ones((2, 2)), np.ones((2, 2))], channels=(1,))
