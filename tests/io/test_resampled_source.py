"""Interpolated images: the values of scikit-image, torch and GDAL, box by box, nodata apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from skimage.transform import resize

from tiledseg.box import Box
from tiledseg.grid import Grid
from tiledseg.io import MemorySource, ResampledSource, SinkSpec, Source, create_sink, open_source
from tiledseg.normalize import measured
from tiledseg.resampling import Method, Scaling
from tiledseg.testing.contracts import SourceContract

METHODS = get_args(Method)
SIZES = [
    ((50, 40), (33, 77)),
    ((31, 29), (64, 58)),
    ((20, 22, 24), (31, 17, 24)),
    ((3, 5), (9, 2)),
    ((1, 70), (4, 33)),
]


def on(image: NDArray[Any], new: tuple[int, ...], *methods: Method, **more: Any) -> ResampledSource:
    """Return an image (c, *s) on a grid of another shape, the corners kept."""
    source = MemorySource(image, nodata=more.pop("nodata", None))
    scaling = Scaling.centred(image.shape[1:], new)
    return ResampledSource(source, new, scaling, methods * (len(new) // len(methods)), **more)


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(shape, np.float32) * 100


class TestResampledContract(SourceContract):
    @pytest.fixture(params=METHODS)
    def source(self, request: pytest.FixtureRequest) -> Source:
        return on(noise(2, 61, 47), (40, 90), request.param)


class TestResampledVolumeContract(SourceContract):
    @pytest.fixture
    def source(self) -> Source:
        image = noise(1, 22, 31, 27)
        image[0, 3, 4, 5] = np.nan
        image[0, 9:15, 7:20, 9:25] = -1
        return on(image, (22, 17, 45), "nearest", "cubic", "linear", nodata=-1)


@pytest.mark.parametrize(("shape", "new"), SIZES)
@pytest.mark.parametrize(("method", "order"), [("nearest", 0), ("linear", 1), ("cubic", 3)])
def test_as_scikit_image(
    shape: tuple[int, ...], new: tuple[int, ...], method: Method, order: int
) -> None:
    image = noise(1, *shape)
    found = on(image, new, method)
    expected = resize(image[0].astype(float), new, order, "edge", clip=False, anti_aliasing=False)
    assert_allclose(found.read(found.grid.box)[0], expected, atol=1e-5)


@pytest.mark.parametrize("new", [(33, 77), (120, 41)])
def test_linear_as_torch(new: tuple[int, int]) -> None:
    image = noise(3, 50, 60)
    found = on(image, new, "linear")
    tensor = torch.from_numpy(image)[None]
    expected = torch.nn.functional.interpolate(tensor, new, mode="bilinear", align_corners=False)
    assert_allclose(found.read(found.grid.box), expected[0].numpy(), atol=1e-3)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of rasterio, to itself
@pytest.mark.parametrize("factor", [2, 3, 2.5, 1.6])
def test_area_as_gdal(tmp_path: Path, factor: float) -> None:
    """The mean of what was measured, where anything was."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.transform import from_bounds
    from rasterio.vrt import WarpedVRT

    image = noise(1, 80, 120) + 1
    image[0, 10:22, 30:37] = -1
    image[0, 50, 60] = -1
    grid = Grid.from_matrix((80, 120), [[10, 0, 5e5], [0, -10, 4e6], [0, 0, 1]])
    sink = create_sink(
        tmp_path / "a.tif", SinkSpec(grid, image.dtype, ("a",), -1.0), layout="gtiff"
    )
    sink.prepare()
    sink.write(grid.box, image)
    sink.commit()
    new = (round(80 / factor), round(120 / factor))
    with open_source(tmp_path / "a.tif") as source:
        found = ResampledSource(source, new, Scaling.centred((80, 120), new), ("area", "area"))
        values, valid = found.read(found.grid.box)[0], found.valid(found.grid.box)
    with (
        rasterio.open(tmp_path / "a.tif") as file,
        WarpedVRT(
            file,
            crs="EPSG:32633",
            src_crs="EPSG:32633",
            transform=from_bounds(*file.bounds, new[1], new[0]),
            width=new[1],
            height=new[0],
            resampling=Resampling.average,
            nodata=-1.0,
        ) as warped,
    ):
        expected = warped.read(1)
    assert_array_equal(valid, expected != -1)
    assert_allclose(values[valid], expected[valid], rtol=1e-5)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ResampledSource, Box]:
    dims = draw(st.integers(2, 3))
    longest = 120 if dims == 2 else 40
    shape = draw(st.tuples(*[st.integers(1, longest)] * dims))
    new = draw(st.tuples(*[st.integers(1, longest)] * dims))
    methods = draw(st.tuples(*[st.sampled_from(METHODS)] * dims))
    image = noise(1, *shape, seed=draw(st.integers(0, 9)))
    if draw(st.booleans()):
        image[np.random.default_rng(0).random(image.shape) < 0.05] = -1
    start = tuple(draw(st.integers(0, n - 1)) for n in new)
    stop = tuple(draw(st.integers(a + 1, n)) for a, n in zip(start, new, strict=True))
    return on(image, new, *methods, nodata=-1), Box(start, stop)


@settings(max_examples=150)
@given(cases())
def test_a_sample_does_not_depend_on_the_box(case: tuple[ResampledSource, Box]) -> None:
    source, box = case
    whole = source.read(source.grid.box)
    assert_array_equal(source.read(box), whole[(slice(None), *box.slices)])
    assert_array_equal(source.valid(box), source.valid(source.grid.box)[box.slices])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("new", [(31, 45), (111, 170)])
@pytest.mark.parametrize("nodata", [-1e30, 0.0, None])
def test_nodata_never_mixes_with_values(
    method: Method, new: tuple[int, int], nodata: float | None
) -> None:
    """A constant image stays constant, whatever lies in its holes."""
    image = np.full((2, 60, 80), 7, np.float32)
    holes = np.random.default_rng(3).random((60, 80)) < 0.1
    holes[20:40, 30:60] = True
    image[:, holes] = np.nan if nodata is None else nodata
    source = on(image, new, method, nodata=nodata)
    values = source.read(source.grid.box)
    seen = measured(values, source.valid(source.grid.box))
    assert seen.mean() > 0.5
    assert not seen.all()
    assert_allclose(values[:, seen], 7, atol=1e-2 if method == "cubic" else 1e-5)


def test_a_hole_of_one_channel_is_the_models_business() -> None:
    """As without resampling: the sample was measured, and the channel says what the file says."""
    image = noise(2, 40, 40) + 1
    image[0, 10:20, 10:20] = -1
    source = on(image, (80, 80), "linear", nodata=-1)
    values = source.read(source.grid.box)
    assert source.valid(source.grid.box).all()
    assert (values[0, 22:38, 22:38] == -1).all()
    assert_array_equal((values[0] < 1).sum(), (values[0] == -1).sum())


def test_limits_of_the_result() -> None:
    """A spline overshoots; scikit-image's clip is to the least and largest sample."""
    image = noise(2, 12, 40, 30)
    image[:, :, 10:20, 10:20] = 1000
    free = on(image, (12, 57, 71), "nearest", "cubic", "cubic")
    assert free.read(free.grid.box).max() > 1000
    low, high = (f(image, axis=(2, 3), keepdims=True) for f in (np.min, np.max))
    held = on(image, (24, 57, 71), "nearest", "cubic", "cubic", limits=lambda: (low, high))
    found = held.read(held.grid.box)
    for row in range(24):
        slice_ = image[0, row // 2].astype(float)
        expected = resize(slice_, (57, 71), 3, "edge", clip=True, anti_aliasing=False)
        assert_allclose(found[0, row], expected, atol=1e-4)


def test_integers_that_are_picked_keep_their_type() -> None:
    image = np.arange(60, dtype=np.int16).reshape(1, 6, 10)
    assert on(image, (3, 20), "nearest").dtype == np.int16
    assert on(image, (3, 20), "linear").dtype == np.float32
    assert on(image.astype(np.int32), (3, 20), "linear").dtype == np.float64


def test_the_identity_says_how() -> None:
    image = noise(1, 20, 30)
    one, other = on(image, (10, 15), "linear"), on(image, (10, 15), "cubic")
    assert one.fingerprint() != other.fingerprint()
    assert one.fingerprint() == on(image, (10, 15), "linear").fingerprint()
    held = on(image, (10, 15), "cubic", limits=lambda: (image[:, :1, :1], image[:, :1, :1]))
    assert held.fingerprint() != other.fingerprint()


def test_overview_of_a_large_image_lies_where_the_images_does() -> None:
    """Picks of both are at the same places of the world."""
    ramp = np.broadcast_to(np.arange(400.0), (1, 300, 400)).astype(np.float32)
    source = on(ramp, (900, 700), "linear")
    values, _ = source.overview(50)
    assert values.shape == (1, 50, 50)
    expected = (np.arange(50) + 0.5) * 400 / 50
    assert np.abs(values[0, 0] - expected).max() <= 4


@pytest.mark.data
@pytest.mark.parametrize("shape", [(29, 124, 88), (58, 300, 200)])
def test_an_oblique_scan_as_simpleitk(data: Path, shape: tuple[int, int, int]) -> None:
    """A CT under a tilted gantry: values and geometry of ITK's own resampling."""
    path = data / "medical/niivue/CT_pitch.nii.gz"
    scan = sitk.ReadImage(str(path), sitk.sitkFloat32)
    with open_source(path) as opened:
        scaling = Scaling.centred(opened.grid.shape, shape)
        source = ResampledSource(opened, shape, scaling, ("linear",) * 3)
        grid = source.grid
        found = source.read(grid.box)[0]
    centres = grid.centers()
    spacing = np.linalg.norm(centres[:3, :3], axis=0)
    expected = sitk.Resample(
        *(scan, shape[::-1], sitk.Transform(), sitk.sitkLinear),
        *(centres[:3, 3].tolist(), spacing.tolist()),
        *((centres[:3, :3] / spacing).ravel().tolist(), -1e9, sitk.sitkFloat32),
    )
    values = sitk.GetArrayFromImage(expected)
    inside = values > -1e8  # ITK knows nothing of the outermost half sample
    assert inside.mean() > 0.9
    assert_allclose(found[inside], values[inside], atol=0.1)
