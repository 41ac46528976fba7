"""What the user calls the region of interest: numbers, polygons, masks; and sentences if not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import SimpleITK as sitk
from numpy.testing import assert_array_equal
from pyproj import CRS, Transformer
from rasterio.features import geometry_mask
from rasterio.transform import Affine

from tiledseg.errors import ConfigError, DamagedInput, GridMismatch
from tiledseg.grid import PATIENT, Grid, Space, SpaceKind
from tiledseg.io import MaskRoi, MemorySource, OrientedSource, open_source
from tiledseg.normalize import Normalization
from tiledseg.pipeline import _roi
from tiledseg.pipeline._grids import Grids

UTM = Space(SpaceKind.PROJECTED, CRS.from_epsg(32633).to_wkt(), 1.0)
MATRIX = np.array([[10.0, 0, 5e5], [0, -10.0, 5.4e6], [0, 0, 1]])


def open_roi(roi, source):
    """Open a roi of an image that the model sees as it is."""
    grids = Grids(
        image=source,
        source=source,
        shown=source,
        target=None,
        grid=source.grid,
        axes=None,
        crop=None,
        whole=True,
        normalization=Normalization(()),
        normalized=False,
    )
    return _roi.open_roi(roi, grids)


def scene(space: Space = UTM) -> MemorySource:
    grid = Grid.from_matrix((60, 80), MATRIX, space)
    return MemorySource(np.zeros((1, 60, 80)), grid, uri="scene")


def burnt(shape: shapely.Geometry) -> np.ndarray:
    return geometry_mask([shape], (60, 80), Affine(*MATRIX[:2].ravel()), invert=True)


def geojson(path: Path, shape: shapely.Geometry, crs: str | None = None) -> str:
    content = {"type": "FeatureCollection", "features": []}
    content["features"] = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
    ]
    if crs is not None:
        content["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(content))
    return str(path)


# ----------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "roi",
    [
        (500100, 5399700, 500300, 5399900),
        [500100.0, 5399700.0, 500300.0, 5399900.0],
        "500100,5399700,500300,5399900",
        " 500100, 5399700, 500300, 5.3999e6",
    ],
)
def test_numbers_are_bounds_in_world_units(roi):
    source = scene()
    expected = np.zeros((60, 80), bool)
    expected[10:30, 10:30] = True
    assert_array_equal(open_roi(roi, source).mask(source.grid.box), expected)


def test_bounds_of_a_volume_are_millimetres_in_lps():
    grid = Grid.from_centers((6, 7, 8), (-10, 20, 300), (2, 3, 4), space=PATIENT)
    stored = MemorySource(np.zeros((1, 6, 7, 8)), grid)
    source = OrientedSource(stored, "RAS")
    roi = open_roi((-7, 22, 303, 1, 30, 313), source)
    expected = np.zeros((6, 7, 8), bool)
    expected[1:4, 1:4, 2:6] = True  # z 304 308 312, y 23 26 29, x -6 -4 -2 0
    mask = roi.mask(source.grid.box)
    assert_array_equal(mask, grid.reorient("RAS")[1].apply(expected))


def test_numbers_that_make_no_sense():
    source = scene()
    with pytest.raises(ConfigError, match="4 numbers, found 3; give xmin, ymin, xmax, ymax"):
        open_roi("1,2,3", source)
    with pytest.raises(ConfigError, match="the lower first, found 500300 and 500100"):
        open_roi((500300, 5399700, 500100, 5399900), source)
    with pytest.raises(ConfigError, match="lies outside the image"):
        open_roi("0,0,10,10", source)
    with pytest.raises(ConfigError, match="must be numbers or a path"):
        open_roi(("a", "b"), source)
    volume = MemorySource(np.zeros((1, 4, 4, 4)))
    with pytest.raises(ConfigError, match="6 numbers, found 4; give xmin, ymin, zmin"):
        open_roi("0,0,1,1", volume)


# ----------------------------------------------------------------- polygons

#: Edges miss every centre by more than the straightness of a degree's edges over 500 m.
FIELD = shapely.Polygon(
    [(500102, 5399893), (500497, 5399842), (500411, 5399521), (500163, 5399603)]
)


def test_longitude_and_latitude_are_brought_into_the_images_crs(tmp_path: Path):
    back = Transformer.from_crs(32633, 4326, always_xy=True).transform
    path = geojson(tmp_path / "a.geojson", shapely.transform(FIELD, back, interleaved=False))
    source, expected = scene(), burnt(FIELD)
    assert 500 < expected.sum() < 2000
    assert_array_equal(open_roi(path, source).mask(source.grid.box), expected)


def test_polygons_in_the_images_crs_stay_as_they_are(tmp_path: Path):
    path = Path(geojson(tmp_path / "a.json", FIELD, "urn:ogc:def:crs:EPSG::32633"))
    source = scene()
    assert_array_equal(open_roi(path, source).mask(source.grid.box), burnt(FIELD))


def test_an_image_without_crs_takes_coordinates_as_its_own(tmp_path: Path):
    source = scene(Space(SpaceKind.LOCAL))
    path = geojson(tmp_path / "a.geojson", FIELD, "urn:ogc:def:crs:EPSG::32633")
    assert_array_equal(open_roi(path, source).mask(source.grid.box), burnt(FIELD))


def test_polygons_that_make_no_sense(tmp_path: Path):
    here = geojson(tmp_path / "here.geojson", FIELD, "urn:ogc:def:crs:EPSG::32633")
    with pytest.raises(ConfigError, match="need a 2-D image, and array is a volume"):
        open_roi(here, MemorySource(np.zeros((1, 4, 4, 4))))
    away = geojson(tmp_path / "away.geojson", shapely.box(14, 40, 14.1, 40.1))
    with pytest.raises(ConfigError, match=r"away\.geojson lies outside the image \(image bounds"):
        open_roi(away, scene())
    nowhere = geojson(tmp_path / "nowhere.geojson", shapely.box(-400, -100, -200, 100))
    told = "in EPSG:4326 cannot be brought into the image's CRS WGS 84 / UTM zone 33N: .*latitude"
    with pytest.raises(ConfigError, match=told):
        open_roi(nowhere, scene())
    (tmp_path / "bad.gpkg").write_bytes(b"no database" * 99)
    with pytest.raises(DamagedInput, match=r"bad\.gpkg cannot be read as polygons"):
        open_roi(str(tmp_path / "bad.gpkg"), scene())


@pytest.mark.parametrize("crs", [None, "urn:ogc:def:crs:EPSG::32633"])
@pytest.mark.parametrize("reach", [(180, 90), (1000, 1000), (1e9, 1e9), (1e300, 1e300)])
def test_a_polygon_far_larger_than_the_image(tmp_path: Path, crs: str | None, reach, recwarn):
    """The whole world, whatever numbers stand for it, is the whole image."""
    (x, y), source = reach, scene()
    if crs is not None and x < 1e9:
        x, y = 1e7, 1e8
    path = geojson(tmp_path / "a.geojson", shapely.box(-x, -y, x, y), crs)
    assert open_roi(path, source).mask(source.grid.box).all()
    half = geojson(tmp_path / "b.geojson", shapely.box(-x, -y, 500400 if crs else 15.005, y), crs)
    mask = open_roi(half, source).mask(source.grid.box)
    edge = 40 if crs else 37
    assert mask[:, : edge - 1].all()
    assert not mask[:, edge + 1 :].any()
    assert not recwarn.list


def test_a_vertex_that_is_no_number(tmp_path: Path):
    import pyogrio

    with np.errstate(invalid="ignore"):
        shape = shapely.Polygon([(500100, 5399700), (float("nan"), 5399900), (500300, 5399700)])
    data = shapely.to_wkb(np.array([shape], dtype=object))
    path = str(tmp_path / "a.gpkg")
    pyogrio.raw.write(path, data, [np.arange(1)], ["id"], geometry_type="Polygon", crs="EPSG:32633")
    with pytest.raises(ConfigError, match=r"of .*a\.gpkg has vertices that are no finite numbers"):
        open_roi(path, scene())


@pytest.mark.parametrize("name", ["none.gpkg", "none.tif", "none.nii.gz", "none"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=r"must be bounds like .* or a file, found no such file"):
        open_roi(str(tmp_path / name), scene())


# ----------------------------------------------------------------- masks


def write_raster(path: Path, values: np.ndarray) -> Path:
    profile = {"driver": "GTiff", "dtype": values.dtype, "crs": "EPSG:32633", "count": 1}
    profile |= {"height": values.shape[0], "width": values.shape[1]}
    with rasterio.open(path, "w", transform=Affine(*MATRIX[:2].ravel()), **profile) as file:
        file.write(values, 1)
    return path


def test_a_raster_of_the_same_grid_is_a_mask(tmp_path: Path):
    values = np.random.default_rng(1).integers(0, 2, (60, 80)).astype("uint8")
    path = write_raster(tmp_path / "a,b.tif", values)
    with open_source(path) as source:
        roi = open_roi(str(path), source)
        assert isinstance(roi, MaskRoi)
        assert_array_equal(roi.mask(source.grid.box), values == 1)
        roi.close()


def test_a_mask_on_another_grid_is_closed_and_refused(tmp_path: Path, monkeypatch):
    path = write_raster(tmp_path / "a.tif", np.ones((60, 79), "uint8"))
    closed = []
    from tiledseg.io._rasterio import RasterSource

    monkeypatch.setattr(RasterSource, "close", lambda self: closed.append(self.uri))
    with pytest.raises(GridMismatch, match=r"roi .*a\.tif must lie on the image's grid"):
        open_roi(str(path), scene())
    assert closed == [str(path)]


def write_volume(path: Path, values: np.ndarray, orientation: str = "LPS") -> Path:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((2, 3, 4))
    image.SetOrigin((-10, 20, 300))
    sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(path))
    return path


@pytest.mark.parametrize("stored", ["LPS", "RAS", "PIR"])
@pytest.mark.parametrize("wanted", [None, "SPL", "RAS"])
def test_a_mask_may_be_stored_along_other_axes(tmp_path: Path, stored: str, wanted: str | None):
    """The mask of a volume, saved by another program along axes of its own."""
    values = np.random.default_rng(2).integers(0, 2, (6, 7, 8)).astype("uint8")
    image = open_source(write_volume(tmp_path / "image.nii.gz", values))
    source = image if wanted is None else OrientedSource(image, wanted)
    roi = open_roi(str(write_volume(tmp_path / "mask.nrrd", values, stored)), source)
    assert 0 < values.sum() < values.size
    assert_array_equal(roi.mask(source.grid.box), source.read(source.grid.box)[0] == 1)
    roi.close()
    source.close()
