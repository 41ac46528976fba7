"""Zarr arrays: both formats, what is damaged, what comes back, what a killed writer leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.testing import assert_array_equal
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from tests.runs import small_disk
from tiledseg.box import Box
from tiledseg.errors import ConfigError, DamagedInput, OutputFailed
from tiledseg.grid import PATIENT, Grid, Space, SpaceKind
from tiledseg.io import (
    SinkSpec,
    create_array,
    create_sink,
    open_array,
    open_source,
    read_schema,
    writing,
)
from tiledseg.labels import ClassSchema

SCHEMA = ClassSchema.of_names(["water", "wood"])
UTM = Grid.from_matrix(
    (40, 50),
    [[10.0, 0.0, 5e5], [0.0, -10.0, 5e6], [0.0, 0.0, 1.0]],
    Space(SpaceKind.PROJECTED, 'PROJCRS["any"]', 1.0),
)
HEAD = Grid.from_centers((8, 9, 10), (1.0, 2.0, 3.0), (0.7, 0.8, 2.5), space=PATIENT)


def stored(sink, values) -> Path:
    sink.prepare()
    sink.write(sink.spec.grid.box, values)
    return sink.commit()[0]


# --------------------------------------------------------------------- reading


def test_an_array_is_opened_by_path_or_as_an_object(tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=np.eye(5), chunks=(2, 3))
    for given in (tmp_path / "a.zarr", str(tmp_path / "a.zarr"), array):
        source = open_source(given, dims=2)
        assert source.blocks == (2, 3)
        assert_array_equal(source.read(source.grid.box)[0], np.eye(5))


def test_a_folder_is_known_by_what_it_holds(tmp_path):
    for zarr_format, name in ((2, "two"), (3, "three")):
        zarr.create_array(str(tmp_path / name), data=np.eye(4), zarr_format=zarr_format)
        assert open_source(tmp_path / name).grid.shape == (4, 4)


def test_only_a_folders_suffix_counts(tmp_path):
    """A raster does not become Zarr by a word in the name of its folder."""
    with pytest.raises(ConfigError, match="there is no file"):
        open_source(tmp_path / "old.zarr_exports" / "scene.tif")


def test_shards_are_the_unit_of_reading(tmp_path):
    values = np.arange(40 * 60).reshape(40, 60)
    zarr.create_array(str(tmp_path / "s.zarr"), data=values, chunks=(5, 5), shards=(20, 30))
    source = open_source(tmp_path / "s.zarr")
    assert source.blocks == (20, 30)
    assert_array_equal(source.read(Box((3, 4), (37, 59)))[0], values[3:37, 4:59])


def test_a_group_is_refused_with_its_arrays(tmp_path):
    group = zarr.create_group(str(tmp_path / "g.zarr"))
    group.create_array("labels", data=np.eye(3))
    group.create_array("image", data=np.eye(3))
    with pytest.raises(ConfigError, match="name one of its arrays: image, labels"):
        open_source(tmp_path / "g.zarr")
    assert open_source(tmp_path / "g.zarr" / "image").grid.shape == (3, 3)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no Zarr array at .*none\.zarr"):
        open_source(tmp_path / "none.zarr")


def test_a_store_that_cannot_be_reached_is_refused():
    with pytest.raises((ConfigError, DamagedInput), match=r"nowhere://bucket/a\.zarr"):
        open_source("nowhere://bucket/a.zarr")


@pytest.mark.parametrize("dims", [2, 3])
def test_dims_tell_channels_from_slices(tmp_path, dims):
    values = np.arange(24).reshape(2, 3, 4)
    zarr.create_array(str(tmp_path / "a.zarr"), data=values)
    source = open_source(tmp_path / "a.zarr", dims=dims)
    assert source.read(source.grid.box).shape == ((1, 2, 3, 4) if dims == 3 else (2, 3, 4))


@pytest.mark.parametrize(("shape", "dims"), [((4, 5), 3), ((2, 3, 4, 5), 2), ((0, 4), 2)])
def test_another_number_of_axes_is_refused(tmp_path, shape, dims):
    zarr.create_array(str(tmp_path / "a.zarr"), shape=shape, dtype="u1", chunks=(1,) * len(shape))
    with pytest.raises(ConfigError, match=f"is not a {dims}-D image"):
        open_source(tmp_path / "a.zarr", dims=dims)


def test_the_fill_value_is_not_nodata(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(4, 4), chunks=(2, 2), dtype="u1", fill_value=0
    )
    array[:2] = 5
    source = open_source(tmp_path / "a.zarr")
    assert source.nodata is None
    assert source.valid(source.grid.box).all()


@pytest.mark.parametrize("named", [["red"], "red and nir", 3])
def test_names_that_do_not_fit_are_not_taken(tmp_path, named):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=np.ones((2, 3, 4)))
    array.attrs["channels"] = named
    assert open_source(tmp_path / "a.zarr", dims=2).channels == ("channel 1", "channel 2")


@pytest.mark.parametrize("key", ["_FillValue", "nodata", "missing_value"])
def test_attributes_declare_nodata(tmp_path, key):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=np.arange(6.0).reshape(2, 3))
    array.attrs[key] = 4.0
    source = open_source(tmp_path / "a.zarr")
    assert source.valid(source.grid.box).tolist() == [[True] * 3, [True, False, True]]


@pytest.mark.parametrize("nodata", [-9999.0, np.nan, 7])
def test_nodata_as_xarray_writes_it(tmp_path, nodata):
    """Xarray codes a float `_FillValue` in base64 in format 3."""
    dtype = "float32" if isinstance(nodata, float) else "int16"
    values = np.arange(12).reshape(3, 4).astype(dtype)
    values[1, 1] = nodata
    data = xr.DataArray(values, dims=("y", "x"), name="a")
    encoding = {"a": {"_FillValue": np.dtype(dtype).type(nodata)}}
    data.to_dataset().to_zarr(
        tmp_path / "x.zarr", zarr_format=3, encoding=encoding, consolidated=False
    )
    source = open_source(tmp_path / "x.zarr" / "a")
    np.testing.assert_equal(source.nodata, float(nodata))
    expected = ~np.isnan(values) if np.isnan(nodata) else values != nodata
    assert_array_equal(source.valid(source.grid.box), expected)


def test_nodata_that_is_no_number_is_refused(tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=np.eye(3))
    array.attrs["nodata"] = "none at all"
    with pytest.raises(DamagedInput, match="nodata 'none at all', which is not a number"):
        open_source(tmp_path / "a.zarr")


# Left out: raw bytes have no checksum, and Blosc reads on beyond a chunk cut short.
HARMS = [
    (None, "truncated"),
    (None, "empty"),
    (ZstdCodec(), "truncated"),
    (ZstdCodec(), "empty"),
    (ZstdCodec(), "garbled"),
    (GzipCodec(), "truncated"),
    (GzipCodec(), "empty"),
    (GzipCodec(), "garbled"),
    (BloscCodec(), "empty"),
    (BloscCodec(), "garbled"),
]


@pytest.mark.parametrize(("codec", "harm"), HARMS)
def test_a_damaged_chunk_is_named(tmp_path, codec, harm):
    values = np.random.default_rng(0).integers(0, 255, (64, 64), "uint8")
    zarr.create_array(str(tmp_path / "a.zarr"), data=values, chunks=(32, 32), compressors=codec)
    chunk = tmp_path / "a.zarr" / "c" / "1" / "1"
    whole = chunk.read_bytes()
    harmed = {"truncated": whole[: len(whole) // 2], "empty": b"", "garbled": b"\x07" * len(whole)}
    chunk.write_bytes(harmed[harm])
    source = open_source(tmp_path / "a.zarr")
    assert_array_equal(source.read(Box((0, 0), (32, 64)))[0], values[:32])
    with pytest.raises(DamagedInput, match=r"a\.zarr is damaged"):
        source.read(source.grid.box)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"zarr_format": 3, "node_type": "array"}'])
def test_a_damaged_description_is_one_sentence(tmp_path, text):
    zarr.create_array(str(tmp_path / "a.zarr"), data=np.eye(3))
    (tmp_path / "a.zarr" / "zarr.json").write_text(text)
    with pytest.raises(DamagedInput, match=r"a\.zarr cannot be opened as Zarr"):
        open_source(tmp_path / "a.zarr")


def test_fingerprint_follows_the_content(tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=np.eye(4), chunks=(2, 2))
    before = open_source(tmp_path / "a.zarr").fingerprint()
    array[0, 0] = 9
    assert open_source(tmp_path / "a.zarr").fingerprint() != before


# --------------------------------------------------------------------- what a sink wrote


@pytest.mark.parametrize("dims", [None, 2])
@pytest.mark.parametrize("bands", [("class",), ("water", "wood")])
def test_grid_names_and_nodata_come_back(tmp_path, dims, bands):
    spec = SinkSpec(UTM, np.dtype("u1"), bands, 255)
    values = np.arange(len(bands) * 2000).reshape(len(bands), 40, 50).astype("u1")
    path = stored(create_sink(tmp_path / "out.zarr", spec), values)
    source = open_source(path, dims=dims)
    assert (source.grid, source.channels, source.nodata) == (UTM, bands, 255.0)
    assert_array_equal(source.read(source.grid.box), values)
    assert_array_equal(source.valid(source.grid.box), (values != 255).any(axis=0))


def test_a_volume_and_its_classes_come_back(tmp_path):
    spec = SinkSpec(HEAD, SCHEMA.dtype, ("class",), SCHEMA.nodata, SCHEMA)
    path = stored(create_sink(tmp_path / "out.zarr", spec), np.zeros((1, 8, 9, 10), "u1"))
    assert open_source(path).grid == HEAD
    assert read_schema(path) == SCHEMA
    assert zarr.open_array(str(path), mode="r").metadata.zarr_format == 3


def test_scores_without_a_number_for_nodata_come_back(tmp_path):
    spec = SinkSpec(UTM, np.dtype("f4"), ("water",), np.nan)
    values = np.zeros((1, 40, 50), "f4")
    values[0, 3, 4] = np.nan
    source = open_source(stored(create_sink(tmp_path / "out.zarr", spec), values))
    assert np.argwhere(~source.valid(source.grid.box)).tolist() == [[3, 4]]


def test_a_foreign_array_names_no_classes(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), data=np.eye(3))
    assert read_schema(tmp_path / "a.zarr") is None


def test_only_an_array_of_our_own_is_replaced(tmp_path):
    spec = SinkSpec(HEAD, SCHEMA.dtype, ("class",), SCHEMA.nodata, SCHEMA)
    (tmp_path / "out.zarr").mkdir()
    path = stored(create_sink(tmp_path / "out.zarr", spec), np.zeros((1, 8, 9, 10), "u1"))
    stored(create_sink(path, spec), np.ones((1, 8, 9, 10), "u1"))
    zarr.create_array(str(tmp_path / "theirs.zarr"), data=np.eye(3))
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "folder.zarr" / "thesis.txt").touch()
    (tmp_path / "file.zarr").touch()
    for name in ("theirs.zarr", "folder.zarr", "file.zarr"):
        with pytest.raises(OutputFailed, match=rf"{name} would be replaced, and is no array that"):
            create_sink(tmp_path / name, spec)


def test_a_grid_of_another_shape_is_damage(tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=np.eye(3))
    array.attrs["tiledseg_grid"] = UTM.to_dict()
    with pytest.raises(DamagedInput, match=r"\(3, 3\).*\(40, 50\)"):
        open_source(tmp_path / "a.zarr")


# --------------------------------------------------------------------- the work store's arrays


def create(path: Path, **given):
    usual = {"shape": (64, 64), "chunks": (32, 32), "dtype": np.dtype("u2"), "fill_value": 65535}
    return create_array(path, **(usual | given))


def test_an_array_is_created_once_and_opened_again(tmp_path):
    create(tmp_path / "w.zarr")[:32] = 7
    array = open_array(tmp_path / "w.zarr", writable=False)
    assert (array.shape, array.chunks, array.dtype) == ((64, 64), (32, 32), np.dtype("u2"))
    assert (array[:32] == 7).all()
    assert (array[32:] == 65535).all()
    with pytest.raises(ValueError, match="read"):
        array[0, 0] = 1
    with pytest.raises(FileExistsError, match="exists"):
        create(tmp_path / "w.zarr")
    open_array(tmp_path / "w.zarr", writable=True)[0, 0] = 1
    assert open_array(tmp_path / "w.zarr", writable=False)[0, 0] == 1


def test_a_killed_writer_leaves_whole_chunks_only(tmp_path):
    """Chunks are replaced, never written in place: kill -9 at any moment leaves old or new."""
    create(tmp_path / "w.zarr", shape=(2048, 2048), chunks=(2048, 2048))
    program = (
        "import sys, pathlib, numpy as np\n"
        "from tiledseg.io import open_array\n"
        "array = open_array(pathlib.Path(sys.argv[1]), writable=True)\n"
        "noise = np.random.default_rng(0).integers(0, 4096, (2048, 2048)).astype('u2')\n"
        "for i in range(10**6):\n"
        "    noise[0, 0] = noise[-1, -1] = i % 4096\n"
        "    array[...] = noise\n"
        "    print(i, flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "w.zarr")]
    for wait in range(1, 6):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            for _ in range(wait):
                writer.stdout.readline()
            writer.kill()
        values = open_array(tmp_path / "w.zarr", writable=False)[...]
        assert values[0, 0] == values[-1, -1]
        assert values.max() < 4096


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence_that_names_the_path():
    with (
        pytest.raises(OutputFailed, match=r"cannot write out/map\.zarr: No space left"),
        writing(Path("out/map.zarr")),
        open("/dev/full", "wb") as full,
    ):
        full.write(b"0" * 10_000)


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "small", "2m") as place:
        yield place


def test_a_sink_on_a_full_disk_names_the_path_and_cleans_up(disk):
    grid = Grid.local((2000, 2000))
    sink = create_sink(disk / "out.zarr", SinkSpec(grid, np.dtype("u2"), ("class",), 65535))
    noise = np.random.default_rng(0).integers(0, 60_000, (1, 2000, 2000)).astype("u2")
    sink.prepare()
    with pytest.raises(OutputFailed, match=r"small/out\.zarr: No space left"):
        sink.write(grid.box, noise)
    sink.abort()
    assert os.listdir(disk) == []
