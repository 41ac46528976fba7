"""Dask arrays in and out: lazy, in whole blocks, computed where they are read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
from numpy.testing import assert_array_equal

from tiledseg.box import Box
from tiledseg.errors import ConfigError
from tiledseg.io import MemorySource, as_dask, open_source

ARRAY = np.arange(2 * 30 * 40, dtype="int16").reshape(2, 30, 40)


class Counted(MemorySource):
    """Remembers what was read."""

    def __init__(self, array, blocks):
        super().__init__(array)
        self.blocks, self.boxes = blocks, []

    def read(self, box):
        self.boxes.append(box)
        return super().read(box)

    def __dask_tokenize__(self):
        return "counted"


def test_a_box_is_computed_in_the_thread_that_reads():
    seen = set()

    def note(block):
        seen.add(threading.get_ident())
        return block

    array = da.from_array(ARRAY, chunks=(1, 7, 9)).map_blocks(note, meta=np.empty((0, 0, 0), "i2"))
    source = open_source(array, dims=2)
    assert source.blocks == (7, 9)
    assert_array_equal(source.read(Box((3, 4), (29, 33))), ARRAY[:, 3:29, 4:33])
    assert seen == {threading.get_ident()}


def test_reading_in_threads_leaves_dasks_settings_alone():
    before = dask.config.get("scheduler", None)
    source = open_source(da.from_array(ARRAY, chunks=(1, 5, 5)), dims=2)
    boxes = [Box((i % 20, i % 30), (i % 20 + 10, i % 30 + 10)) for i in range(60)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(source.read, boxes))
    assert dask.config.get("scheduler", None) == before


def test_fingerprint_follows_the_content():
    one = open_source(da.from_array(ARRAY, chunks=10)).fingerprint()
    assert one == open_source(da.from_array(ARRAY.copy(), chunks=10)).fingerprint()
    assert one != open_source(da.from_array(ARRAY + 1, chunks=10)).fingerprint()


def test_channels_are_chosen():
    source = open_source(da.from_array(ARRAY), channels=(2,))
    assert_array_equal(source.read(source.grid.box), ARRAY[1:])


def test_an_array_of_unknown_extent_is_refused():
    array = da.from_array(ARRAY[0])
    with pytest.raises(ConfigError, match="its extent is not known"):
        open_source(array[array[:, 0] > 100])


def test_as_dask_is_lazy_and_in_whole_blocks():
    source = Counted(ARRAY, blocks=(7, 40))
    lazy = as_dask(source)
    assert source.boxes == []
    assert (lazy.shape, lazy.dtype) == (ARRAY.shape, ARRAY.dtype)
    assert all(chunk % 7 == 0 for chunk in lazy.chunks[1][:-1])
    assert_array_equal(lazy.compute(scheduler="synchronous"), ARRAY)
    assert sum(box.size for box in source.boxes) == 30 * 40


def test_as_dask_reads_only_the_chunks_asked_for():
    wide = np.arange(2000 * 8).reshape(1, 2000, 8)
    source = Counted(wide, blocks=(100, 8))
    part = as_dask(source)[:, 1990:].compute(scheduler="synchronous")
    assert_array_equal(part, wide[:, 1990:])
    assert [box.start[0] for box in source.boxes] == [1500]


def test_a_raster_goes_through_dask_and_back(tmp_path):
    profile = {"driver": "GTiff", "height": 30, "width": 40, "count": 2, "dtype": "int16"}
    profile["transform"] = rasterio.Affine(10, 0, 500, 0, -10, 900)
    for name, values in (("a.tif", ARRAY), ("b.tif", ARRAY + 1)):
        with rasterio.open(tmp_path / name, "w", **profile) as file:
            file.write(values)
    with open_source(tmp_path / "a.tif") as a, open_source(tmp_path / "b.tif") as b:
        assert_array_equal(as_dask(a).compute(scheduler="threads"), ARRAY)
        assert_array_equal((as_dask(b) - as_dask(a)).compute(), np.ones_like(ARRAY))
        again = open_source(as_dask(a), dims=2)
        assert_array_equal(again.read(again.grid.box), ARRAY)
