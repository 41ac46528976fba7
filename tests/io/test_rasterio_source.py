"""Rasters through GDAL: places, channels, validity, threads; rasterio itself is the oracle."""

from __future__ import annotations

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine, from_gcps
from rasterio.windows import Window

from tiledseg.box import Box
from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.grid import Grid, SpaceKind
from tiledseg.io import centred_picks, open_source
from tiledseg.io._rasterio import open_raster

UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
ENGINEERING = 'LOCAL_CS["site",UNIT["metre",1]]'
REAL = [
    "geo/rasterio/RGB.byte.tif",
    "geo/rasterio/RGBA.uint16.tif",
    "geo/rasterio/alpha.tif",
    "geo/rasterio/all-nodata.tif",
    "geo/rasterio/cogeo.tif",
    "geo/rasterio/float.tif",
    "geo/rasterio/float_nan.tif",
    "geo/rasterio/float_raster_with_nodata.tif",
    "geo/rasterio/goes.tif",
    "geo/rasterio/rotated.tif",
    "geo/rasterio/test_esri_wkt.tif",
    "geo/rasterio/world.rgb.tif",
    "geo/rio-tiler/201404_13SED190110_201404_0x1500m_CL_1_extmask.tif",
    "geo/rio-tiler/clp.tif",
    "geo/rio-tiler/cog_dateline.tif",
    "geo/rio-tiler/cog_nodata_nan.tif",
    "geo/rio-tiler/cog_nonearth.tif",
    "geo/rio-tiler/cog_rgb_mask.tif",
    "geo/rio-tiler/cog_rgba.tif",
    "geo/rio-tiler/cog_scale.tif",
    "geo/rio-tiler/inverted_lat.tif",
    "geo/rio-tiler/pix4d_alpha_nodata.tif",
    "geo/opengeos_timeseries/dsm.tif",
    "geo/solaris/sample_geotiff_custom_proj.tif",
    "geo/deepforest/australia.tif",
    "geo/deepness/dummy_fotomap_small.tif",
]


def opened(path: Path) -> rasterio.DatasetReader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


def write(path: Path, samples: np.ndarray, **more: Any) -> Path:
    """Write (c, y, x) samples as a GeoTIFF by rasterio alone."""
    count, height, width = samples.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width}
    profile |= {"dtype": samples.dtype.name, "transform": UTM, "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **profile | more) as file:
        file.write(samples)
    return path


def numbered(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


# --------------------------------------------------------------------- real files


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_as_rasterio_reads_them(data, name):
    path = next(data.glob(name))
    with opened(path) as file, open_raster(str(path)) as source:
        bands = [i + 1 for i, c in enumerate(file.colorinterp) if c != ColorInterp.alpha]
        assert source.grid.shape == file.shape
        assert len(source.channels) == len(bands)
        np.testing.assert_array_equal(source.read(source.grid.box), file.read(bands))
        masks = file.read_masks(bands).any(axis=0)
        np.testing.assert_array_equal(source.valid(source.grid.box), masks)
        index = np.array([(0, 0), file.shape, (0.5, 0.5), (3.25, 1.75)])
        world = [
            rasterio.transform.xy(file.transform, row, column, offset="ul") for row, column in index
        ]
        np.testing.assert_allclose(source.grid.index_to_world(index), world, rtol=1e-14)
        assert source.grid.space.crs == (file.crs.to_wkt() if file.crs else None)


@pytest.mark.data
def test_ground_control_points_are_kept_and_fitted(data):
    path = data / "geo/rio-tiler/cog_gcps.tif"
    with opened(path) as file, open_raster(str(path)) as source:
        points, crs = file.gcps
        assert len(source.grid.control) == len(points) == 210
        first, theirs = source.grid.control[0], points[0]
        assert (first.row, first.column) == (theirs.row, theirs.col)
        assert (first.x, first.y, first.z) == (theirs.x, theirs.y, theirs.z)
        fitted = from_gcps(points)
        np.testing.assert_allclose(source.grid.matrix[:2].ravel(), fitted[:6])
        assert source.grid.space.kind is SpaceKind.GEOGRAPHIC
        assert source.grid.space.crs == crs.to_wkt()


@pytest.mark.data
def test_control_points_win_over_an_affine_that_places_nothing(data):
    """The VRT names a CRS and an identity affine beside its ground control points."""
    with open_raster(str(data / "geo/rasterio/RGB.byte.gcp.vrt")) as source:
        assert len(source.grid.control) == 4
        with open_raster(str(data / "geo/rasterio/RGB.byte.tif")) as original:
            assert source.grid.shape == original.grid.shape
        (west, east), (south, north) = source.grid.bounds
        assert -180 < west < east < 180
        assert -90 < south < north < 90


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("geo/rasterio/RGB.byte.tif", SpaceKind.PROJECTED, 1.0),
        ("geo/rasterio/world.rgb.tif", SpaceKind.GEOGRAPHIC, None),
        ("geo/rasterio/float.tif", SpaceKind.LOCAL, None),
        ("geo/rasterio/rotated.tif", SpaceKind.LOCAL, None),
        ("geo/rio-tiler/cog_nonearth.tif", SpaceKind.PROJECTED, 1.0),
        ("geo/rasterio/goes.tif", SpaceKind.PROJECTED, 1.0),
    ],
)
def test_space_of_real_files(data, name, kind, unit):
    with open_raster(str(data / name)) as source:
        assert (source.grid.space.kind, source.grid.space.unit) == (kind, unit)


@pytest.mark.data
@pytest.mark.parametrize("name", ["rasterio/rgb_lzw.tif", "rio-tiler/cog_rgb_mask.tif"])
def test_eight_threads_read_as_one_does(data, name):
    with open_raster(str(data / "geo" / name)) as source:
        rng = np.random.default_rng(3)
        corners = [np.sort(rng.integers(0, n, (400, 2)), axis=1) for n in source.grid.shape]
        boxes = [
            Box((int(top), int(left)), (int(bottom) + 1, int(right) + 1))
            for (top, bottom), (left, right) in zip(*corners, strict=True)
        ]
        whole, validity = source.read(source.grid.box), source.valid(source.grid.box)
    with open_raster(str(data / "geo" / name)) as fresh, ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda box: (fresh.read(box), fresh.valid(box)), boxes))
    for box, (values, mask) in zip(boxes, read, strict=True):
        np.testing.assert_array_equal(values, whole[(slice(None), *box.slices)])
        np.testing.assert_array_equal(mask, validity[box.slices])


@pytest.mark.data
def test_a_world_of_648_megapixels_is_read_by_box_and_seen_through_overviews(data):
    path = data / "geo/rio-tiler/cog_world.tif"
    with opened(path) as file, open_raster(str(path)) as source:
        box = Box((9000, 20000), (9100, 20333))
        window = Window(20000, 9000, 333, 100)
        np.testing.assert_array_equal(source.read(box), file.read(window=window))
        values, valid = source.overview(500)
        theirs = file.read(out_shape=(1, 500, 500), resampling=Resampling.nearest)
        np.testing.assert_array_equal(values, theirs)
        assert valid.shape == (500, 500)
        np.testing.assert_array_equal(valid, values[0] != 0)


@pytest.mark.data
def test_a_palette_gives_its_indices(data):
    with open_raster(str(data / "geo/rio-tiler/cog_cmap.tif")) as source:
        assert len(source.channels) == 1
        assert source.nodata == 0
        values = source.read(Box((4000, 3000), (4500, 3500)))
    assert set(np.unique(values)) <= {0, 1, *range(3, 13)}


@pytest.mark.data
def test_inside_an_archive(data, tmp_path):
    import zipfile

    path = data / "geo/rasterio/RGB.byte.tif"
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        archive.write(path, "in/scene.tif")
    uri = f"/vsizip/{tmp_path}/scenes.zip/in/scene.tif"
    with open_raster(uri) as inside, open_raster(str(path)) as plain:
        np.testing.assert_array_equal(inside.read(inside.grid.box), plain.read(plain.grid.box))
        assert inside.fingerprint()
    with pytest.raises(DamagedInput, match="absent"):
        open_raster(f"/vsizip/{tmp_path}/scenes.zip/absent.tif")


# --------------------------------------------------------------------- places


@pytest.mark.parametrize(
    "transform",
    [UTM, Affine(10, 0, 5, 0, 10, 7), Affine.rotation(30) @ Affine(2, 0, 5, 0, -3, 7)],
    ids=["north up", "south up", "rotated"],
)
def test_affine_is_taken_as_it_is(tmp_path, transform):
    path = write(tmp_path / "a.tif", numbered(1, 5, 7), transform=transform)
    with open_raster(str(path)) as source:
        np.testing.assert_array_equal(source.grid.matrix.ravel(), list(transform))


def test_file_without_reference_is_local(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        path = write(tmp_path / "a.tif", numbered(1, 5, 7), transform=None, crs=None)
    with open_raster(str(path)) as source:
        assert source.grid == Grid.local((5, 7))


@pytest.mark.parametrize(
    ("crs", "kind", "unit"),
    [
        ("EPSG:32633", SpaceKind.PROJECTED, 1.0),
        ("EPSG:2263", SpaceKind.PROJECTED, pytest.approx(0.3048006096)),
        ("EPSG:4326", SpaceKind.GEOGRAPHIC, None),
        (ENGINEERING, SpaceKind.LOCAL, None),
    ],
)
def test_units_of_the_space(tmp_path, crs, kind, unit):
    path = write(tmp_path / "a.tif", numbered(1, 5, 7), crs=crs)
    with open_raster(str(path)) as source:
        assert source.grid.space.kind is kind
        assert source.grid.space.unit == unit
        assert source.grid.space.crs


def test_affine_that_places_nothing_is_damage(tmp_path):
    path = write(tmp_path / "a.tif", numbered(1, 5, 7), transform=Affine(0, 10, 5, 0, 20, 7))
    with pytest.raises(DamagedInput, match=r"a\.tif has no usable georeference: .*singular"):
        open_raster(str(path))


# --------------------------------------------------------------------- channels


def test_channels_by_number_and_description(tmp_path):
    samples = numbered(4, 5, 7)
    path = write(tmp_path / "a.tif", samples)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("Blue", "NIR", "same", "same")
    with open_raster(str(path)) as source:
        assert source.channels == ("Blue", "NIR", "same", "same")
    with open_raster(str(path), ("nir", 4, 1)) as source:
        assert source.channels == ("NIR", "same", "Blue")
        np.testing.assert_array_equal(source.read(source.grid.box), samples[[1, 3, 0]])
    for wrong in ("same", "red", 0, 5):
        with pytest.raises(ConfigError, match="1: Blue, 2: NIR, 3: same, 4: same"):
            open_raster(str(path), (wrong,))


def test_bands_without_description_are_numbered(tmp_path):
    path = write(tmp_path / "a.tif", numbered(2, 5, 7))
    with open_raster(str(path), ("band 2",)) as source:
        assert source.channels == ("band 2",)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "float64"])
def test_dtypes_are_kept(tmp_path, dtype):
    samples = numbered(2, 5, 7, dtype=dtype)
    with open_raster(str(write(tmp_path / "a.tif", samples))) as source:
        values = source.read(source.grid.box)
    assert values.dtype == source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(values, samples)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_samples_are_refused(tmp_path, dtype):
    path = write(tmp_path / "a.tif", numbered(1, 5, 7, dtype=dtype))
    with pytest.raises(ConfigError, match=r"a\.tif has complex samples"):
        open_raster(str(path))


# --------------------------------------------------------------------- validity


def test_zero_is_a_value_where_nothing_is_declared(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((3, 5, 7), np.uint8))
    with open_raster(str(path)) as source:
        assert source.valid(source.grid.box).all()
        assert source.nodata is None


@pytest.mark.parametrize("nodata", [9, np.nan])
def test_a_sample_is_invalid_where_every_chosen_band_is_nodata(tmp_path, nodata):
    samples = numbered(2, 5, 7, dtype="float32")
    samples[0, 1, 2] = samples[:, 3, 4] = nodata
    samples[samples == 9] = nodata
    path = write(tmp_path / "a.tif", samples, nodata=nodata)
    gone = np.isnan(samples) if np.isnan(nodata) else samples == nodata
    with open_raster(str(path)) as source:
        np.testing.assert_equal(source.nodata, nodata)
        np.testing.assert_array_equal(source.valid(source.grid.box), ~gone.all(axis=0))
    with open_raster(str(path), (1,)) as source:
        np.testing.assert_array_equal(source.valid(source.grid.box), ~gone[0])


@pytest.mark.parametrize("channels", [None, (1, 2, 3), (1, 2, 3, 4)])
def test_alpha_is_validity_even_where_it_is_a_channel_too(tmp_path, channels):
    samples = numbered(4, 16, 16, dtype="uint8")
    samples[3] = 255
    samples[3, 2:5] = 0
    path = write(tmp_path / "a.tif", samples, photometric="rgb", alpha="yes")
    with open_raster(str(path), channels) as source:
        assert len(source.channels) == (3 if channels is None else len(channels))
        np.testing.assert_array_equal(source.valid(source.grid.box), samples[3] > 0)


@pytest.mark.parametrize("internal", [True, False])
def test_mask_band_inside_and_beside_the_file(tmp_path, internal):
    path = tmp_path / "a.tif"
    mask = np.ones((5, 7), bool)
    mask[1:3, 2] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        write(path, numbered(2, 5, 7))
        with rasterio.open(path, "r+") as file:
            file.write_mask(mask)
    assert (tmp_path / "a.tif.msk").exists() is not internal
    with open_raster(str(path)) as source:
        np.testing.assert_array_equal(source.valid(source.grid.box), mask)


# --------------------------------------------------------------------- overviews, identity, memory


def test_overview_without_levels_picks_samples(tmp_path):
    samples = numbered(2, 97, 131, dtype="float64")
    samples[:, 0] = 7
    path = write(tmp_path / "a.tif", samples, nodata=7)
    with open_raster(str(path)) as source:
        values, valid = source.overview(10)
    rows, columns = centred_picks(97, 10), centred_picks(131, 10)
    picked = samples[:, rows][:, :, columns]
    np.testing.assert_array_equal(values, picked)
    np.testing.assert_array_equal(valid, (picked != 7).any(axis=0))


def test_fingerprint_follows_the_content_through_a_vrt(tmp_path):
    path = write(tmp_path / "a.tif", numbered(1, 5, 7))
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="7" rasterYSize="5"><VRTRasterBand dataType="UInt16" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )

    def identity() -> dict[str, Any]:
        with open_raster(str(tmp_path / "a.vrt")) as source:
            np.testing.assert_array_equal(source.read(source.grid.box).shape, (1, 5, 7))
            return source.fingerprint()

    before = identity()
    assert before == identity()
    write(path, numbered(1, 5, 7)[:, ::-1])
    assert before != identity()


def test_container_without_bands_lists_its_images(tmp_path):
    path, samples = tmp_path / "two.gpkg", numbered(1, 256, 256, dtype="uint8")
    write(path, samples, driver="GPKG", raster_table="may")
    write(path, samples, driver="GPKG", raster_table="june", append_subdataset="yes")
    with pytest.raises(ConfigError, match=r"name one of its images: .*june.*"):
        open_raster(str(path))
    with open_raster(f"GPKG:{path}:may") as source:
        assert source.grid.shape == (256, 256)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no file .*nothing\.tif"):
        open_source(tmp_path / "nothing.tif")


def test_the_cache_stays_small_in_every_thread(tmp_path):
    """Reading 600 MB in four threads must not fill GDAL's default cache (5 % of the memory)."""
    path = tmp_path / "big.tif"
    profile = {"driver": "GTiff", "height": 12_000, "width": 12_000, "count": 2, "dtype": "uint16"}
    tiling = {"tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True}
    with rasterio.open(path, "w", **profile, **tiling, transform=UTM, crs="EPSG:32633"):
        pass
    script = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from tiledseg.box import Box
from tiledseg.io._rasterio import open_raster
source = open_raster(sys.argv[1])
boxes = [Box((r, 0), (r + 512, 12_000)) for r in range(0, 11_400, 512)]
def read(box):
    source.read(box)
source.read(Box((0, 0), (1, 1)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ThreadPoolExecutor(4) as pool:
    list(pool.map(read, boxes))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, source.working_bytes)
"""
    run = [sys.executable, "-c", script, str(path)]
    out = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    grown, stated = map(int, out.split())
    assert stated <= 128 * 2**20
    assert grown < stated // 2**20 + 4 * 24 + 64  # the cache, four results in flight, the rest
