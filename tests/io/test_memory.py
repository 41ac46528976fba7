"""numpy and xarray in memory: which axis is which, where samples lie, what is nodata."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tiledseg.box import Box
from tiledseg.errors import ConfigError
from tiledseg.grid import Grid, SpaceKind
from tiledseg.io import MemorySource, open_source, read_padded
from tiledseg.testing.strategies import boxes, grids


def scene(**coords) -> xr.DataArray:
    """Return 3 bands of 4 x 5, north up, 10 m; coords replace the usual ones."""
    usual = {"band": ["red", "green", "blue"], "y": 95.0 - 10 * np.arange(4)}
    usual["x"] = 505.0 + 10 * np.arange(5)
    values = np.arange(60, dtype="float32").reshape(3, 4, 5)
    return xr.DataArray(values, dims=("band", "y", "x"), coords=usual | coords)


def with_crs(wkt: str) -> xr.DataArray:
    return scene(spatial_ref=xr.DataArray(0, attrs={"crs_wkt": wkt}))


# --------------------------------------------------------------------- numpy


@pytest.mark.parametrize(
    ("shape", "dims", "channels", "grid_shape"),
    [
        ((4, 5), 2, 1, (4, 5)),
        ((3, 4, 5), 2, 3, (4, 5)),
        ((3, 4, 5), 3, 1, (3, 4, 5)),
        ((2, 3, 4, 5), 3, 2, (3, 4, 5)),
        ((3, 4, 5), None, 3, (4, 5)),
    ],
)
def test_dims_tell_channels_from_slices(shape, dims, channels, grid_shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    source = open_source(array, dims=dims)
    assert source.grid == Grid.local(grid_shape)
    assert len(source.channels) == channels
    assert_array_equal(source.read(source.grid.box), array.reshape(channels, *grid_shape))


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5), (3, 0, 5), (0, 4, 5)])
def test_another_number_of_axes_is_refused(shape):
    with pytest.raises(ConfigError, match="is not a 2-D image"):
        open_source(np.zeros(shape), dims=2)


def test_channels_are_chosen_by_number_and_name():
    array = np.arange(24).reshape(4, 2, 3)
    source = MemorySource(array, channels=("b", "g", "r", "n"), wanted=("N", 1))
    assert source.channels == ("n", "b")
    assert_array_equal(source.read(source.grid.box), array[[3, 0]])


def test_dtypes_are_native_numbers():
    assert open_source(np.ones((2, 2), ">i2")).dtype == np.dtype("int16")
    truth = open_source(np.eye(2, dtype=bool))
    assert_array_equal(truth.read(truth.grid.box)[0], np.eye(2, dtype=np.uint8))
    assert truth.read(truth.grid.box).dtype == truth.dtype == np.uint8
    with pytest.raises(ConfigError, match="complex64"):
        open_source(np.ones((2, 2), "complex64"))


def test_what_is_no_image_is_refused():
    with pytest.raises(ConfigError, match="int is not an image"):
        open_source(3)


@pytest.mark.parametrize("nodata", [0.0, np.nan])
def test_a_sample_is_invalid_where_every_channel_is_nodata(nodata):
    array = np.ones((2, 1, 3), "float32")
    array[0, 0, 1] = array[:, 0, 2] = nodata
    source = MemorySource(array, nodata=nodata)
    assert source.valid(source.grid.box).tolist() == [[True, True, False]]


@pytest.mark.parametrize("kind", [np.ma.masked_array, da.ma.masked_array])
def test_a_masked_sample_is_invalid_where_every_channel_is(kind):
    values = np.arange(6, dtype="u1").reshape(2, 1, 3)
    mask = np.array([[[False, True, True]], [[False, False, True]]])
    given = values if kind is np.ma.masked_array else da.from_array(values)
    source, whole = open_source(kind(given, mask)), open_source(kind(given, mask & False))
    assert source.valid(source.grid.box).tolist() == [[True, True, False]]
    assert_array_equal(source.read(source.grid.box), values)
    assert type(source.read(source.grid.box)) is np.ndarray
    assert whole.valid(whole.grid.box).all()
    assert source.fingerprint() != whole.fingerprint()


def test_masked_and_nodata_are_invalid_both():
    array = np.ma.masked_array(np.array([[1, 2, 3]], "u1"), [[True, False, False]])
    source = MemorySource(array[None], nodata=2.0)
    assert source.valid(source.grid.box).tolist() == [[False, False, True]]
    assert array.mask.tolist() == [[True, False, False]]


def test_arrays_that_are_no_images_are_told():
    torch = pytest.importorskip("torch")
    for tensor in (torch.zeros(4, 5, requires_grad=True), torch.zeros(4, 5, dtype=torch.bfloat16)):
        with pytest.raises(ConfigError, match="Tensor cannot be read as a numpy array"):
            open_source(tensor)
    with pytest.raises(ConfigError, match=r"Dataset is not one image: .* variables \(red\)"):
        open_source(xr.Dataset({"red": scene()[0]}))
    for wrong in ("none", [1, 2], 10**400):
        with pytest.raises(ConfigError, match=r"declares nodata .* which is not a number"):
            open_source(scene().assign_attrs(_FillValue=wrong))


def test_nodata_that_the_dtype_cannot_hold_hides_nothing():
    source = MemorySource(np.zeros((1, 2, 2), "uint8"), nodata=-9999.0)
    assert source.valid(source.grid.box).all()
    assert MemorySource(np.zeros((1, 2, 2), "uint8"), nodata=np.nan).valid(source.grid.box).all()


def test_fingerprint_follows_the_content():
    array = np.zeros((1, 4, 5), "int8")
    changed = array.copy()
    changed[0, 3, 4] = -1
    one = MemorySource(array).fingerprint()
    assert one == MemorySource(array.copy()).fingerprint()
    assert one != MemorySource(changed).fingerprint()
    assert one != MemorySource(array.reshape(1, 5, 4)).fingerprint()
    assert MemorySource(changed).fingerprint() != MemorySource(changed.view("u1")).fingerprint()


# --------------------------------------------------------------------- base: overview, padding


@pytest.mark.parametrize("limit", [1, 2, 5, 11, 40])
def test_overview_picks_the_middle_of_every_part(limit):
    array = np.arange(2 * 23 * 31).reshape(2, 23, 31)
    values, _ = MemorySource(array).overview(limit)
    rows, columns = (
        [int((i + 0.5) * n / min(n, limit)) for i in range(min(n, limit))] for n in (23, 31)
    )
    assert_array_equal(values, array[:, rows][:, :, columns])


@given(st.data())
def test_reading_beyond_the_border_is_numpys_reflection(data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    around = data.draw(st.integers(0, 9))
    wide = array = np.arange(np.prod(shape)).reshape(shape)
    for axis, n in enumerate(shape):  # one sample has no mirror image but itself
        pad = [(around, around) if a == axis else (0, 0) for a in (0, 1)]
        wide = np.pad(wide, pad, mode="edge" if n == 1 else "reflect")
    box = data.draw(boxes(wide.shape))
    values, valid = read_padded(MemorySource(array[None]), box.shift((-around, -around)), "reflect")
    assert_array_equal(values[0], wide[box.slices])
    assert valid.all()


def test_zero_padding_is_invalid():
    source = MemorySource(np.ones((1, 2, 2)))
    _, valid = read_padded(source, Box((-1, 0), (3, 4)), "zero")
    assert_array_equal(valid, np.pad(np.ones((2, 2), bool), ((1, 1), (0, 2))))


# --------------------------------------------------------------------- xarray


def test_dataarray_gives_grid_names_and_samples():
    source = open_source(scene())
    assert source.channels == ("red", "green", "blue")
    assert source.grid.shape == (4, 5)
    assert source.grid.bounds == ((500.0, 550.0), (60.0, 100.0))
    assert source.grid.index_to_world([0, 0]).tolist() == [500.0, 100.0]
    assert source.grid.space.kind is SpaceKind.LOCAL
    assert_array_equal(source.read(source.grid.box), scene().to_numpy())


@pytest.mark.parametrize("order", [("y", "x", "band"), ("x", "band", "y")])
def test_the_order_of_dimensions_does_not_matter(order):
    turned = open_source(scene().transpose(*order))
    plain = open_source(scene())
    assert turned.grid == plain.grid
    assert_array_equal(turned.read(turned.grid.box), plain.read(plain.grid.box))


@given(grids(3))
def test_a_volume_keeps_its_centres(grid):
    """Any axis-aligned grid survives as coordinates of centres, 1-sample axes but for spacing."""
    linear = grid.matrix[:3, :3]
    if (linear != np.diag(np.diag(linear))).any():
        return  # a DataArray with 1-D coordinates cannot say this
    centers = grid.centers()
    coords = {
        name: centers[i, 3] + centers[i, i] * np.arange(grid.shape[2 - i])
        for i, name in enumerate("xyz")
    }
    source = open_source(xr.DataArray(np.zeros(grid.shape), coords, ("z", "y", "x")), dims=3)
    index = np.array([np.zeros(3), np.array(grid.shape) - 1]) + 0.5
    expected = grid.index_to_world(index)
    np.testing.assert_allclose(source.grid.index_to_world(index), expected, rtol=1e-12, atol=1e-6)


def test_uneven_coordinates_are_refused():
    with pytest.raises(ConfigError, match="'x' is not evenly spaced"):
        open_source(scene(x=np.array([0.0, 1, 2, 4, 8])))


def test_dimensions_that_are_not_an_images_are_refused():
    series = xr.DataArray(np.zeros((2, 3, 4)), dims=("time", "y", "x"))
    with pytest.raises(ConfigError, match=r"\('time', 'y', 'x'\) is not a 2-D image"):
        open_source(series)


def test_without_coordinates_index_is_world():
    assert open_source(xr.DataArray(np.zeros((3, 4)), dims=("y", "x"))).grid == Grid.local((3, 4))


@pytest.mark.parametrize("key", ["_FillValue", "nodata"])
def test_dataarray_declares_nodata(key):
    data = scene()
    data[:, 1, 2] = -1.0
    data.attrs[key] = -1.0
    source = open_source(data)
    assert source.nodata == -1.0
    assert np.argwhere(~source.valid(source.grid.box)).tolist() == [[1, 2]]


@pytest.mark.parametrize("version", ["WKT1_GDAL", "WKT2_2019"])
@pytest.mark.parametrize(
    ("code", "kind", "unit"),
    [
        (32633, SpaceKind.PROJECTED, 1.0),
        (3857, SpaceKind.PROJECTED, 1.0),
        (2263, SpaceKind.PROJECTED, 1200 / 3937),  # US survey feet on an ellipsoid in metres
        (4326, SpaceKind.GEOGRAPHIC, None),
        (4267, SpaceKind.GEOGRAPHIC, None),
    ],
)
def test_the_kind_and_unit_of_a_crs_are_pyprojs(code, kind, unit, version):
    wkt = pyproj.CRS.from_epsg(code).to_wkt(version)
    space = open_source(with_crs(wkt)).grid.space
    assert (space.kind, space.crs) == (kind, wkt)
    assert space.unit == (unit and pytest.approx(unit, rel=1e-9))


def test_a_crs_of_another_kind_claims_no_metres():
    wkt = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],'
    space = open_source(with_crs(wkt + 'LENGTHUNIT["metre",1]]')).grid.space
    assert space.kind is SpaceKind.LOCAL


def test_a_dataarray_of_dask_stays_lazy():
    def refuse(block):
        raise AssertionError("computed")

    lazy = da.ones((3, 4, 5), chunks=2).map_blocks(refuse, meta=np.empty((0, 0, 0)))
    source = open_source(scene().copy(data=lazy))
    assert source.blocks == (2, 2)
    assert source.grid == open_source(scene()).grid
    with pytest.raises(AssertionError, match="computed"):
        source.read(Box((0, 0), (1, 1)))
