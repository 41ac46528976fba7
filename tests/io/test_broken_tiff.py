"""Every odd or damaged TIFF: read as other readers read it, or refused in one sentence."""

from __future__ import annotations

import os
import random
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from tiledseg.box import Box
from tiledseg.errors import ConfigError, DamagedInput, TiledsegError
from tiledseg.io._rasterio import open_raster

FOLDER = Path(os.environ.get("TILEDSEG_DATA", "")) / "broken"
FILES = sorted(p for p in FOLDER.glob("tiff_*/*") if os.environ.get("TILEDSEG_DATA"))
#: Cannot be read: the header lies, data are missing, or a block does not decode.
REFUSED = {
    "corrupt.tif",
    "crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif",
    "crash-0e16d3bfb83be87356d026d66919deaefca44dac.tif",
    "crash-1152ec2d1a1a71395b6f2ce6721c38924d025bf3.tif",
    "crash-2020-10-test.tif",
    "crash-338516dbd2f0e83caddb8ce256c22db3bd6dc40f.tif",
    "crash-63b1dffefc8c075ddc606c0a2f5fdc15ece78863.tif",
    "crash-f46f5b2f43c370fe65706c11449f567ecc345e74.tif",
    "header_only.tif",
    "libtiff_segfault.tif",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif",
    "truncated_60pct.tif",
    "zero_bytes.tif",
}
#: Pillow decodes these on its own; bands in its order.
PILLOW = [
    "tiff_derived/no_crs_no_transform.tif",
    "tiff_derived/one_pixel.tif",
    "tiff_derived/pair_label_other_crs.tif",
    "tiff_unusual_valid/10ct_32bit_128.tiff",
    "tiff_unusual_valid/16bit.MM.cropped.tif",
    "tiff_unusual_valid/12bit.cropped.tif",
    "tiff_unusual_valid/hopper_bigtiff.tif",
    "tiff_unusual_valid/hopper_lzma.tif",
    "tiff_unusual_valid/tiff_tiled_planar_lzw.tiff",
]

pytestmark = pytest.mark.data


def part_to_read(shape: tuple[int, ...]) -> Box:
    """The whole image, or the middle of a gigapixel one."""
    whole = Box.of_shape(shape)
    middle = Box.of_shape((600, 600), tuple(n // 2 - 300 for n in shape))
    return whole if whole.size < 10**7 else middle


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
@pytest.mark.timeout(20)
def test_odd_file_is_read_exactly_or_refused_in_one_sentence(path):
    if path.name in REFUSED:
        with (
            pytest.raises(DamagedInput, match=re.escape(str(path))) as caught,
            open_raster(str(path)) as it,
        ):
            it.read(part_to_read(it.grid.shape))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value).replace(str(path), "")) < 300
        return
    with open_raster(str(path)) as source:
        box = part_to_read(source.grid.shape)
        values, valid = source.read(box), source.valid(box)
        numbers = [int(n.split()[-1]) for n in source.channels if n.startswith("band ")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            bands = numbers or list(file.indexes)
            window = Window(box.start[1], box.start[0], box.shape[1], box.shape[0])
            np.testing.assert_array_equal(values, file.read(bands, window=window))
            assert values.dtype == file.dtypes[0]
            np.testing.assert_array_equal(valid, file.read_masks(bands, window=window).any(axis=0))


@pytest.mark.parametrize("name", PILLOW)
def test_unusual_but_valid_files_are_as_pillow_reads_them(data, name):
    path = data / "broken" / name
    with open_raster(str(path)) as source:
        values = source.read(source.grid.box)
    with Image.open(path) as image:
        theirs = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(values, theirs)


def test_what_is_special_is_kept(data):
    folder = data / "broken/tiff_derived"
    with open_raster(str(folder / "float_nan_inf.tif")) as source:
        values = source.read(source.grid.box)
        assert np.isnan(values).any()
        assert np.isinf(values).any()
        assert source.valid(source.grid.box).all()  # nothing is declared; `measured` judges these
    with open_raster(str(folder / "uint32_big_values.tif")) as source:
        values = source.read(source.grid.box)
        assert (values.astype(np.float32).astype(np.uint64) != values).any()
    with open_raster(str(folder / "south_up.tif")) as source:
        assert source.grid.affine[1][1] > 0
    with open_raster(str(folder / "many_bands_300.tif")) as source:
        assert len(source.channels) == 300
        assert source.channels[-1] == "band 300"


@pytest.mark.timeout(20)
def test_a_gigapixel_is_opened_at_once_and_read_by_box(data):
    path = data / "broken/tiff_derived/sparse_gigapixel_40000x40000.tif"
    started = time.perf_counter()
    with open_raster(str(path)) as source:
        assert source.grid.shape == (40_000, 40_000)
        middle = source.read(Box((19_000, 19_000), (21_000, 21_000)))
        assert middle.any()
        assert not source.read(Box((0, 0), (100, 100))).any()
    assert time.perf_counter() - started < 5


@pytest.mark.timeout(20)
def test_a_false_number_of_bands_costs_no_time(data):
    """The header claims 65535 bands of 900 x 65535 samples."""
    started = time.perf_counter()
    with pytest.raises(DamagedInput, match="claims 65535 bands"):
        open_raster(str(data / "broken/tiff_pillow/libtiff_segfault.tif"))
    assert time.perf_counter() - started < 5


def test_a_block_that_does_not_decode_is_named_and_the_others_are_read(data):
    path = data / "broken/tiff_rasterio/corrupt.tif"
    with open_raster(str(path)) as source:
        with pytest.raises(
            DamagedInput, match=r"corrupt\.tif .*rows 600 to 610, columns 700 to 701"
        ):
            source.read(Box((600, 700), (610, 701)))
        assert source.read(Box((512, 0), (1024, 512))).any()


@pytest.mark.parametrize("name", ["rio-tiler/cog_rgb_mask.tif", "rio-tiler/cog_gcps.tif",
                                  "rasterio/rgb_lzw.tif"])  # fmt: skip
@pytest.mark.timeout(120)
def test_random_damage_never_escapes_as_anything_else(data, tmp_path, name):
    """Flipped bytes in header and data: read, or refused by name; nothing else, and no hang."""
    whole = (data / "geo" / name).read_bytes()
    chance, path = random.Random(name), tmp_path / "damaged.tif"
    outcomes = set()
    for turn in range(150):
        content = bytearray(whole)
        reach = (300, 3000, len(content))[turn % 3]
        for _ in range(chance.randint(1, 5)):
            content[chance.randrange(8, min(reach, len(content)))] = chance.randrange(256)
        path.write_bytes(content[: chance.randrange(len(content))] if turn % 10 == 9 else content)
        try:
            with np.errstate(all="ignore"), open_raster(str(path)) as source:
                box = source.grid.box.intersect(Box.of_shape((64, 64)))
                source.read(box)
                source.valid(box)
            outcomes.add("read")
        except (DamagedInput, ConfigError) as error:
            outcomes.add("refused" if str(path) in str(error) else f"without a name: {error}")
    assert outcomes == {"read", "refused"}


def test_a_folder_or_text_is_no_raster(tmp_path):
    (tmp_path / "a.tif").write_text("this is no image\n" * 100)
    with pytest.raises(TiledsegError, match=r"a\.tif cannot be opened as a raster"):
        open_raster(str(tmp_path / "a.tif"))
