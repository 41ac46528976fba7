"""The facade: what a name or an object becomes, what is refused, and what stays unloaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import SimpleITK as sitk

import tiledseg.io
from tiledseg.errors import ConfigError, DamagedInput, OutputFailed, UnknownFormat
from tiledseg.grid import Grid
from tiledseg.io import MemorySource, SinkSpec, create_sink, open_source, read_schema
from tiledseg.labels import ClassSchema

PLANE, SPACE = Grid.local((6, 7)), Grid.local((4, 6, 7))
SCHEMA = ClassSchema.of_names(["water", "wood"])


def spec(grid: Grid) -> SinkSpec:
    return SinkSpec(grid, SCHEMA.dtype, ("class",), SCHEMA.nodata, SCHEMA)


def written(path: Path, grid: Grid) -> Path:
    sink = create_sink(path, spec(grid))
    sink.prepare()
    sink.write(grid.box, np.ones((1, *grid.shape), SCHEMA.dtype))
    return sink.commit()[0]


def test_no_heavy_library_is_loaded_before_it_is_needed():
    program = (
        "import sys, numpy, tiledseg.io as io\n"
        "io.open_source(numpy.ones((3, 4)))\n"
        "heavy = {'rasterio', 'SimpleITK', 'zarr', 'dask', 'xarray', 'torch', 'monai'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_all_names_are_importable():
    for name in tiledseg.io.__all__:
        assert getattr(tiledseg.io, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = tiledseg.io.nothing_of_this_name


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("map.tif", PLANE),
        ("MAP.TIFF", PLANE),
        ("map.zarr", PLANE),
        ("labels.nii", SPACE),
        ("labels.nii.gz", SPACE),
        ("labels.nrrd", SPACE),
        ("labels.mha", SPACE),
        ("labels.zarr", SPACE),
    ],
)
def test_what_is_written_is_read_by_its_name(tmp_path, name, grid):
    path = written(tmp_path / name, grid)
    with open_source(path) as source:
        assert source.grid.shape == grid.shape
        assert source.channels
        assert (source.read(source.grid.box) == 1).all()
    assert read_schema(path) == SCHEMA
    assert read_schema(str(path)) == SCHEMA


@pytest.mark.parametrize("name", ["map.tif", "labels.nrrd", "map.zarr"])
@pytest.mark.parametrize(
    "text",
    [
        '{"classes": [{"id": Infinity, "name": "x"}]}',
        '{"classes": [{"name": "x", "color": "red"}]}',
        '{"classes": [{"name": "x", "color": [0, 300, 0]}]}',
        '{"classes": [{"name": "x", "color": [NaN, 0, 0]}]}',
        '{"classes": [{"name": "\\ud800"}]}',
        '{"classes": [{"name": "x"}], "background": "0"}',
        '{"classes": [{"name": "x"}], "background": [0]}',
        '{"classes": [{"name": "x"}], "background": -7}',
        '{"classes": [3]}',
        '{"classes": []}',
        "[" * 9999,
    ],
)
def test_classes_that_are_none_name_nothing(tmp_path, name, text):
    if name.endswith("tif"):
        path = tmp_path / name
        place = rasterio.Affine(2, 0, 0, 0, -2, 0)
        with rasterio.open(path, "w", "GTiff", 7, 6, 1, transform=place, dtype="uint8") as file:
            file.write(np.ones((1, 6, 7), "u1"))
            file.update_tags(TILEDSEG_CLASSES=text)
        assert read_schema(path) is None
        return
    path = written(tmp_path / name, SPACE if name.endswith("nrrd") else PLANE)
    if name.endswith("nrrd"):
        (tmp_path / "labels.json").write_text(text)
        (tmp_path / "labels.ctbl").unlink()
    elif text.startswith("["):
        pytest.skip("the description of such an array is refused as a whole")
    else:
        description = json.loads((path / "zarr.json").read_text())
        description["attributes"]["tiledseg_classes"] = json.loads(text)
        (path / "zarr.json").write_text(json.dumps(description))
    assert read_schema(path) is None


def test_a_source_is_returned_as_it_is():
    source = MemorySource(np.ones((2, 3, 4)))
    assert open_source(source) is source
    assert open_source([source]) is source
    with pytest.raises(ConfigError, match="channels"):
        open_source(source, channels=(1,))


def test_a_list_of_files_is_stacked(tmp_path):
    paths = [written(tmp_path / name, PLANE) for name in ("a.tif", "b.tif")]
    with open_source(paths) as source:
        assert len(source.channels) == 2
        assert source.read(source.grid.box).shape == (2, 6, 7)
    with open_source(paths[:1]) as source:
        assert len(source.channels) == 1


@pytest.mark.parametrize("name", ["none.tif", "none.nii.gz", "none.zarr", "none", "none.nrrd"])
def test_what_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="there is no"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["bad.tif", "bad.nii.gz", "bad.nii", "bad.nrrd", "bad.png"])
@pytest.mark.parametrize("content", [b"", b"not an image\n" * 50], ids=["empty", "text"])
def test_what_is_no_image_is_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedInput, match=name.replace(".", r"\.")):
        open_source(tmp_path / name)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises((ConfigError, DamagedInput), match=str(tmp_path)):
        open_source(tmp_path)


@pytest.mark.data
def test_a_dicom_folder_is_a_volume(data):
    series = sorted({p.parent for p in (data / "medical/dicom_series").rglob("*.dcm")})
    oracle = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series[0]))
    with open_source(series[0]) as source:
        assert source.grid.shape[0] == len(oracle)


@pytest.mark.data
def test_a_scene_is_opened_by_gdal(data):
    path = next((data / "geo/rasterio").glob("RGB*.tif"))
    with open_source(path, channels=(3, 1)) as source, rasterio.open(path) as oracle:
        np.testing.assert_array_equal(source.read(source.grid.box), oracle.read([3, 1]))


# --------------------------------------------------------------------- sinks


@pytest.mark.parametrize("name", ["map.jpg", "map", "map.nhdr", "map.gz", "map.zarr.zip"])
def test_an_unknown_suffix_lists_the_known(tmp_path, name):
    with pytest.raises(UnknownFormat, match=r"known suffixes are \.tif, .*\.nii\.gz.*\.zarr"):
        create_sink(tmp_path / name, spec(PLANE))


@pytest.mark.parametrize(
    ("name", "grid", "better"),
    [
        ("map.nii.gz", PLANE, r"2-D .*\.tif"),
        ("map.mha", PLANE, r"2-D"),
        ("m.tif", SPACE, r"3-D .*\.nii"),
    ],
)
def test_a_format_for_other_axes_is_refused(tmp_path, name, grid, better):
    with pytest.raises(ConfigError, match=better):
        create_sink(tmp_path / name, spec(grid))


@pytest.mark.parametrize("name", ["map.tif", "map.zarr"])
def test_a_folder_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(OutputFailed, match="there is no folder"):
        create_sink(tmp_path / "none" / name, spec(PLANE))


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to give up root")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    """Root may write anywhere, so the question is asked as nobody."""
    program = (
        "import sys, pathlib, numpy\n"
        "from tiledseg.grid import Grid\n"
        "from tiledseg.io import SinkSpec, create_sink\n"
        "spec = SinkSpec(Grid.local((4, 4)), numpy.dtype('u1'), ('class',), 255)\n"
        "create_sink(pathlib.Path('/usr/map.tif'), spec)\n"
    )
    command = [sys.executable, "-B", "-c", program]
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", *command],
        capture_output=True,
        text=True,
        cwd="/",
    )
    if "ModuleNotFoundError" in done.stderr or "setpriv" in done.stderr:
        pytest.skip("nobody may not read this installation")
    assert "OutputFailed: cannot write /usr/map.tif: no permission" in done.stderr
