"""Polygons: the area of the samples exactly, whatever the affine; files that open elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyproj import CRS, Geod

from tiledseg.errors import OutputFailed, UnknownFormat
from tiledseg.grid import Grid, Space, SpaceKind
from tiledseg.io import MemorySource
from tiledseg.labels import ClassSchema
from tiledseg.vector import PolygonSpec, row_measures
from tiledseg.vector import write_polygons as write_source

SCHEMA = ClassSchema.of_names(["nothing", "a", "b"], background=0)


def write_polygons(
    labels: np.ndarray, grid: Grid, schema: ClassSchema, path: Path, **settings: Any
) -> int:
    """Write the polygons of an array."""
    source = MemorySource(labels[np.newaxis], grid)
    return write_source(source, path, PolygonSpec(**settings), schema=schema)


def read(path: Path) -> tuple[list[shapely.Geometry], dict[str, np.ndarray]]:
    """Return geometries and fields of a vector file."""
    meta, _, geometry, fields = pyogrio.raw.read(path, layer=path.stem)
    return list(shapely.from_wkb(geometry)), dict(zip(meta["fields"], fields, strict=True))


@settings(deadline=None, max_examples=25)
@given(
    labels=arrays(
        np.uint8,
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.sampled_from([0, 1, 2, 255]),
    ),
    angle=st.floats(0, 6.3),
    size=st.floats(0.1, 30),
)
def test_area_is_that_of_the_samples(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray, angle: float, size: float
) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * size
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    grid = Grid.from_matrix(labels.shape, matrix)
    path = tmp_path_factory.mktemp("p") / "out.gpkg"
    count = write_polygons(labels, grid, SCHEMA, path)
    shapes, fields = read(path)
    assert count == len(shapes)
    for label in (1, 2):
        at = fields["class_id"] == label
        area = sum(s.area for s, here in zip(shapes, at, strict=True) if here)
        assert area == pytest.approx((labels == label).sum() * size**2, rel=1e-9, abs=1e-9)
    union = shapely.union_all(shapes)
    assert union.area == pytest.approx(sum(s.area for s in shapes), rel=1e-9, abs=1e-9)
    assert set(fields["class_id"]) <= {1, 2}


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[3:9, 4:20] = 1
    wkt = CRS.from_epsg(4326).to_wkt()
    matrix = np.array([[0.1, 0, 10], [0, -0.1, 50], [0, 0, 1]])
    grid = Grid.from_matrix((20, 30), matrix, Space(SpaceKind.GEOGRAPHIC, wkt))
    path = tmp_path / f"out{suffix}"
    assert write_polygons(labels, grid, SCHEMA, path) == 1
    shapes, fields = read(path)
    assert shapes[0].bounds == pytest.approx((10.4, 49.1, 12.0, 49.7))
    assert fields["class_name"][0] == "a"
    area, around = Geod(ellps="WGS84").geometry_area_perimeter(shapes[0])
    assert fields["area_m2"][0] == pytest.approx(area, rel=1e-4)  # edges that are no parallels
    assert fields["area_m2"][0] == pytest.approx(16e4 * row_measures(grid)[0][3:9].sum(), rel=1e-12)
    assert fields["perimeter_m"][0] == pytest.approx(around, rel=1e-4)
    assert shapely.is_ccw(shapes[0].exterior)
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_format_and_missing_folder(tmp_path: Path) -> None:
    labels, grid = np.ones((2, 2), np.uint8), Grid.local((2, 2))
    with pytest.raises(UnknownFormat, match=r"\.gpkg"):
        write_polygons(labels, grid, SCHEMA, tmp_path / "out.shp")
    with pytest.raises(OutputFailed, match="nowhere"):
        write_polygons(labels, grid, SCHEMA, tmp_path / "nowhere" / "out.gpkg")


def test_row_measures() -> None:
    """Hectares on a plane, on the ellipsoid, millilitres in a patient, else samples."""
    matrix = np.diag([20.0, -10.0, 1.0])
    plane = Grid.from_matrix((3, 4), matrix, Space(SpaceKind.PROJECTED, "x", 1.0))
    sizes, unit = row_measures(plane)
    assert unit == "ha"
    np.testing.assert_allclose(sizes, 0.02)
    sizes, unit = row_measures(Grid.local((3, 4)))
    assert (sizes.tolist(), unit) == ([1, 1, 1], "samples")
    from tiledseg.grid import PATIENT

    scan = Grid.from_centers((2, 3, 4), (0, 0, 0), (2, 2, 5), space=PATIENT)
    sizes, unit = row_measures(scan)
    assert unit == "ml"
    np.testing.assert_allclose(sizes, 0.02)


@pytest.mark.parametrize(
    ("code", "geodesic"), [(3857, True), (3395, True), (3035, False), (32631, False)]
)
def test_areas_are_those_on_the_ellipsoid(tmp_path: Path, code: int, geodesic: bool) -> None:
    """A square at 48.6 degrees north: what pyproj says of its outline, 0.44 of Mercator's plane."""
    from pyproj import Geod, Transformer

    crs = CRS.from_epsg(code)
    x, y = Transformer.from_crs(4326, code, always_xy=True).transform(3.2, 48.6)
    matrix = np.array([[100.0, 0, x], [0, -100.0, y], [0, 0, 1]])
    grid = Grid.from_matrix((50, 40), matrix, Space(SpaceKind.PROJECTED, crs.to_wkt(), 1.0))
    outline = grid.index_to_world([(0, 0), (0, 40), (50, 40), (50, 0)])
    outline = shapely.segmentize(shapely.Polygon(outline), 10.0)
    back = Transformer.from_crs(code, 4326, always_xy=True).transform
    on_earth = shapely.transform(outline, back, interleaved=False)
    area = abs(Geod(ellps="WGS84").geometry_area_perimeter(on_earth)[0])
    sizes, unit = row_measures(grid)
    assert unit == "ha"
    assert sizes.sum() * 40 * 1e4 == pytest.approx(area, rel=1e-5 if geodesic else 1e-3)
    assert (sizes[0] == 1.0) is not geodesic
    out = tmp_path / "out.gpkg"
    write_polygons(np.ones(grid.shape, np.uint8), grid, SCHEMA, out)
    found = pyogrio.raw.read(out, layer=out.stem, columns=["area_m2"])[3][0]
    assert found.tolist() == pytest.approx([area], rel=1e-5 if geodesic else 1e-3)


def test_the_whole_earth_in_hectares() -> None:
    """Rows of a global grid add up to the surface of the ellipsoid, 510.0656e6 km2."""
    wkt = CRS.from_epsg(4326).to_wkt()
    matrix = np.array([[0.5, 0, -180], [0, -0.5, 90], [0, 0, 1]])
    sizes, _ = row_measures(Grid.from_matrix((360, 720), matrix, Space(SpaceKind.GEOGRAPHIC, wkt)))
    assert sizes.sum() * 720 / 100 == pytest.approx(510.0656e6, rel=2e-4)
