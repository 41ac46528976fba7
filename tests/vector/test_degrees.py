"""Longitudes and latitudes of polygons, whatever a map counts from and where it ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS, Geod, Transformer

from tests.vector.test_polygon_wishes import noise, read
from tiledseg.errors import ConfigError
from tiledseg.grid import Grid, Space, SpaceKind
from tiledseg.io import MemorySource
from tiledseg.vector import PolygonSpec, write_polygons

#: What a geostationary satellite sees, and the dark around it.
DISK = "+proj=geos +h=35785831 +lon_0=0 +sweep=y +a=6378169 +b=6356583.8 +units=m"
DEGREES = Space(SpaceKind.GEOGRAPHIC, CRS.from_epsg(4326).to_wkt())


def world(west: float, north: float, side: float, space: Space = DEGREES) -> MemorySource:
    """Return a map of 40 x 40 samples from a corner on."""
    matrix = np.array([[side, 0, west], [0, -side, north], [0, 0, 1]])
    return MemorySource(noise()[np.newaxis], Grid.from_matrix((40, 40), matrix, space), nodata=9)


def plane(crs: int | str) -> Space:
    return Space(SpaceKind.PROJECTED, CRS.from_user_input(crs).to_wkt(), 1.0)


@pytest.mark.parametrize("west", [-200.0, -190.0, 170.0, 350.0, 400.0, 700.0])
def test_longitudes_may_be_counted_on(tmp_path: Path, west: float) -> None:
    """What is told beyond 360 degrees, GDAL would leave out; nothing is lost."""
    write_polygons(world(west, 10, 0.5), tmp_path / "a.gpkg", PolygonSpec())
    write_polygons(world(west, 10, 0.5), tmp_path / "a.geojson", PolygonSpec())
    given, told = (read(tmp_path / name)[0] for name in ("a.gpkg", "a.geojson"))
    assert shapely.is_valid(told).all()
    assert shapely.area(told) == pytest.approx(shapely.area(given), rel=1e-6)
    low, _, high, _ = shapely.total_bounds(told)
    assert -180 <= low < high <= 180
    inside = (west + 180) % 360 <= 340
    assert (high - low == pytest.approx(20)) == inside


@pytest.mark.parametrize("epsg", [32660, 32601])
def test_zones_at_the_date_line(tmp_path: Path, epsg: int) -> None:
    west = 800_000.0 if epsg == 32660 else 100_000.0  # the line is at 833,979 and 166,021
    write_polygons(world(west, 90_000, 2000, plane(epsg)), tmp_path / "a.geojson", PolygonSpec())
    shapes, fields = read(tmp_path / "a.geojson")
    assert shapely.is_valid(shapes).all()
    geod = Geod(ellps="WGS84")
    areas = [geod.geometry_area_perimeter(shape)[0] for shape in shapes]
    assert areas == pytest.approx(fields["area_m2"], rel=1e-3)


@pytest.mark.parametrize("dissolve", [False, True])
@pytest.mark.parametrize(
    ("west", "space", "side"), [(170.0, DEGREES, 0.5), (800_000.0, plane(32660), 2000.0)]
)
def test_tiles_are_cut_at_the_date_line(
    tmp_path: Path, west: float, space: Space, side: float, dissolve: bool
) -> None:
    """As large as GeoJSON's polygons, and on both sides of the world."""
    source, wanted = world(west, 10 * side, side, space), PolygonSpec(dissolve=dissolve)
    for name in ("a.geojson", "a.pmtiles"):
        write_polygons(source, tmp_path / name, wanted)
    shapes, fields = read(tmp_path / "a.geojson")
    drawn, told = read(tmp_path / "a.pmtiles")
    half = np.pi * 6_378_137
    assert np.abs(shapely.bounds(drawn)[:, ::2]).max() <= half + 1
    assert shapely.bounds(drawn)[:, 0].min() == pytest.approx(-half, rel=1e-4)
    assert shapely.bounds(drawn)[:, 2].max() == pytest.approx(half, rel=1e-4)
    move = Transformer.from_crs(4326, 3857, always_xy=True).transform
    plain = shapely.transform(shapes, lambda p: np.stack(move(p[:, 0], p[:, 1]), axis=-1))
    for label in (1, 2, 3):
        whole = shapely.area(plain[fields["class_id"] == label]).sum()
        found = shapely.area(drawn[told["class_id"] == label]).sum()
        assert found == pytest.approx(whole, rel=1e-2)


def test_tiles_lie_where_longitudes_do(tmp_path: Path) -> None:
    path = tmp_path / "a.pmtiles"
    write_polygons(world(340, 10, 0.5), path, PolygonSpec())
    low, _, high, _ = np.array(pyogrio.read_info(path, force_total_bounds=True)["total_bounds"])
    assert np.degrees(np.array([low, high]) / 6_378_137) == pytest.approx([-20, 0], abs=0.1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (world(0, 95, 0.5), "no longitude and latitude"),
        (world(1e12, 1e12, 10, plane(32633)), "no longitude and latitude"),
        (world(-5_568_000, 5_568_000, 278_400, plane(DISK)), "no longitude and latitude"),
        (world(-1100, 1100, 50, plane(3413)), "around a pole"),
    ],
)
def test_places_without_longitude_and_latitude_are_refused(
    tmp_path: Path, source: MemorySource, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_polygons(source, tmp_path / "a.geojson", PolygonSpec())
    with pytest.raises(ConfigError, match=f"{message}|place on Web Mercator"):
        write_polygons(source, tmp_path / "a.pmtiles", PolygonSpec())
    assert list(tmp_path.iterdir()) == []
    write_polygons(source, tmp_path / "a.gpkg", PolygonSpec())


@pytest.mark.parametrize("space", [DEGREES, plane(3857)])
def test_the_border_of_the_world_is_one_edge(tmp_path: Path, space: Space) -> None:
    """Of 360 degrees, and no jump."""
    half = 180.0 if space is DEGREES else np.pi * 6_378_137
    matrix = np.array([[half / 20, 0, -half], [0, -half / 40, half / 2], [0, 0, 1]])
    grid = Grid.from_matrix((40, 40), matrix, space)
    source = MemorySource(np.ones((1, 40, 40), np.uint8), grid)
    assert write_polygons(source, tmp_path / "a.geojson", PolygonSpec()) == 1
    (shape,) = read(tmp_path / "a.geojson")[0]
    assert shape.bounds[::2] == pytest.approx((-180, 180))


@pytest.mark.parametrize(("west", "north"), [(0.0, 90.0), (170.0, -70.0)])
def test_perimeters_up_to_a_pole(tmp_path: Path, west: float, north: float) -> None:
    """Borders that follow meridians and parallels, to the pole itself."""
    write_polygons(world(west, north, 0.5), tmp_path / "a.gpkg", PolygonSpec())
    shapes, fields = read(tmp_path / "a.gpkg")
    geod = Geod(ellps="WGS84")
    around = [geod.geometry_length(shapely.segmentize(shape.boundary, 0.5)) for shape in shapes]
    assert fields["perimeter_m"] == pytest.approx(around, rel=2e-3)
