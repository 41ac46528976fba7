"""Every backend keeps the contracts; oracles are numpy, zarr, rasterio, SimpleITK and nibabel."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import nibabel
import numpy as np
import pytest
import rasterio
import SimpleITK as sitk
import zarr

from tiledseg.grid import PATIENT, Grid
from tiledseg.io import (
    MemorySink,
    MemorySource,
    OrientedSink,
    OrientedSource,
    SinkSpec,
    StackedSource,
    create_sink,
    open_source,
)
from tiledseg.labels import ClassSchema
from tiledseg.testing.contracts import SinkContract, SourceContract

PLANE, SPACE = (37, 53), (19, 23, 29)
SCHEMA = ClassSchema.of_names(["background", "water", "wood"], background=0)
OBLIQUE = Grid.from_centers(
    SPACE,
    origin=(-80.0, 12.5, 7.0),
    spacing=(0.7, 0.8, 2.5),
    direction=[[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]],
    space=PATIENT,
)


def numbered(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    """Different values everywhere."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


# --------------------------------------------------------------------- sources


class TestMemorySource(SourceContract):
    @pytest.fixture
    def samples(self):
        return numbered((3, *PLANE), "float32")

    @pytest.fixture
    def validity(self, samples):
        return samples[0] != 500

    @pytest.fixture
    def source(self, samples):
        samples[:, 9, 23] = 500
        return MemorySource(samples.copy(), nodata=500.0)


class TestDaskSource(SourceContract):
    @pytest.fixture
    def samples(self):
        return numbered((2, *SPACE))

    @pytest.fixture
    def source(self, samples):
        return open_source(da.from_array(samples.copy(), chunks=(1, 5, 11, 13)), dims=3)


@pytest.mark.parametrize("zarr_format", [2, 3])
class TestZarrSource(SourceContract):
    @pytest.fixture
    def samples(self, zarr_format):
        return numbered((2, *PLANE), "int32")

    @pytest.fixture
    def validity(self, samples):
        return (samples != 77).any(axis=0)

    @pytest.fixture
    def source(self, tmp_path, samples, zarr_format):
        samples[:, 4, 4:9] = 77
        array = zarr.create_array(
            str(tmp_path / "a.zarr"), data=samples, chunks=(1, 8, 16), zarr_format=zarr_format
        )
        array.attrs["_FillValue"] = 77
        return open_source(tmp_path / "a.zarr", dims=2)


class TestStackedSource(SourceContract):
    @pytest.fixture
    def parts(self):
        return numbered((2, *PLANE), "uint8"), -numbered((1, *PLANE), "int16")

    @pytest.fixture
    def samples(self, parts):
        return np.concatenate(parts)

    @pytest.fixture
    def validity(self, parts):
        return (parts[0] != 7).any(axis=0) & (parts[1][0] != -30)

    @pytest.fixture
    def source(self, parts):
        sources = [MemorySource(parts[0], nodata=7), MemorySource(parts[1], nodata=-30)]
        return StackedSource(sources)


class TestOrientedSource(SourceContract):
    @pytest.fixture
    def samples(self):
        stored = numbered((2, *SPACE))
        axes = OBLIQUE.reorient("RAS")[1]
        return axes.apply(stored)

    @pytest.fixture
    def source(self):
        return OrientedSource(MemorySource(numbered((2, *SPACE)), OBLIQUE), "RAS")


class TestRasterSource(SourceContract):
    @pytest.fixture
    def samples(self):
        values = numbered((2, *PLANE))
        values[:, 10:12, 5:40] = 9
        return values

    @pytest.fixture
    def validity(self, samples):
        return (samples != 9).any(axis=0)

    @pytest.fixture
    def source(self, tmp_path, samples):
        profile = {"driver": "GTiff", "height": 37, "width": 53, "count": 2, "dtype": "uint16"}
        tiling = {"tiled": True, "blockxsize": 16, "blockysize": 16, "nodata": 9}
        transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
        path = tmp_path / "scene.tif"
        with rasterio.open(
            path, "w", **profile, **tiling, transform=transform, crs="EPSG:32633"
        ) as file:
            file.write(samples)
        with open_source(path) as source:
            yield source


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
class TestVolumeSource(SourceContract):
    @pytest.fixture
    def samples(self, suffix):
        return numbered((1, *SPACE))

    @pytest.fixture
    def source(self, tmp_path, samples, suffix):
        path = str(tmp_path / f"scan{suffix}")
        sitk.WriteImage(sitk.GetImageFromArray(samples[0]), path)
        with open_source(path) as source:
            yield source


# --------------------------------------------------------------------- sinks


def class_map(grid: Grid) -> SinkSpec:
    return SinkSpec(grid, SCHEMA.dtype, ("class",), SCHEMA.nodata, SCHEMA)


def scores(grid: Grid) -> SinkSpec:
    return SinkSpec(grid, np.dtype(np.uint16), ("water", "wood"), 65535, scale=1 / 65534)


def read_zarr(path: Path, ndim: int) -> np.ndarray:
    array = zarr.open_array(str(path), mode="r")
    return array[...] if array.ndim > ndim else array[...][None]


@pytest.mark.parametrize("spec", [class_map, scores])
class TestZarrSink(SinkContract):
    @pytest.fixture
    def sink(self, tmp_path, spec):
        return create_sink(tmp_path / "labels.zarr", spec(Grid.local(PLANE)))

    def stored(self, path):
        return read_zarr(path, 2)


class TestOrientedSink(SinkContract):
    @pytest.fixture
    def sink(self, tmp_path):
        """The inner sink lies as stored; the boxes of the test lie as RAS."""
        grid, axes = OBLIQUE.reorient("RAS")
        sink = OrientedSink(create_sink(tmp_path / "labels.zarr", class_map(OBLIQUE)), axes)
        sink.spec = class_map(grid)
        return sink

    def stored(self, path):
        return OBLIQUE.reorient("RAS")[1].apply(read_zarr(path, 3))


@pytest.mark.parametrize("spec", [class_map, scores])
@pytest.mark.parametrize("layout", ["cog", "gtiff"])
class TestRasterSink(SinkContract):
    @pytest.fixture
    def sink(self, tmp_path, spec, layout):
        grid = Grid.from_matrix(PLANE, [[10, 0, 500], [0, -10, 900], [0, 0, 1]])
        return create_sink(tmp_path / "labels.tif", spec(grid), layout)

    def stored(self, path):
        with rasterio.open(path) as file:
            return file.read()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
class TestVolumeSink(SinkContract):
    @pytest.fixture
    def sink(self, tmp_path, suffix):
        return create_sink(tmp_path / f"labels{suffix}", class_map(OBLIQUE))

    def stored(self, path):
        if path.name.endswith((".nii", ".nii.gz")):
            return np.asarray(nibabel.load(path).dataobj).T[None]
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[None]


def test_memory_sink_keeps_what_it_was_given():
    contract, sink = SinkContract(), MemorySink(scores(Grid.local(PLANE)))
    values = contract.values(sink)
    sink.prepare()
    contract.fill(sink, values)
    assert sink.commit() == []
    sink.abort()
    np.testing.assert_array_equal(sink.array, values)
