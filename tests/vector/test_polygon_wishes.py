"""Polygons of a map: which are wanted, and in which file."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine

from tiledseg.box import Box
from tiledseg.components import component_table
from tiledseg.errors import BudgetExceeded, ConfigError, OutputFailed
from tiledseg.grid import Grid, Space, SpaceKind
from tiledseg.io import CroppedSource, MemorySource, open_source
from tiledseg.vector import (
    Points,
    PolygonSpec,
    check_polygon_format,
    write_points,
    write_polygons,
)

MATRIX = np.array([[10.0, 0, 500_000], [0, -10, 5_000_000], [0, 0, 1]])
SPACE = Space(SpaceKind.PROJECTED, CRS.from_epsg(32633).to_wkt(), 1.0)


def scene(labels: np.ndarray, nodata: int | None = None) -> MemorySource:
    """Return a map of 10 m samples in UTM."""
    grid = Grid.from_matrix(labels.shape, MATRIX, SPACE)
    return MemorySource(labels[np.newaxis], grid, nodata=nodata)


def noise(size: int = 40) -> np.ndarray:
    """Return 0 to 3 in small patches, and 9 where nothing was measured."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, (size, size), np.uint8)
    labels = np.where(rng.random((size, size)) < 0.6, np.roll(labels, 1, 0), labels)
    labels[5:9, 7:20] = 9
    return labels


def read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return geometries and fields of a vector file."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        names = [n for n in table.column_names if n not in ("geometry", "bbox")]
        columns = {n: table[n].to_numpy() for n in names}
        return shapely.from_wkb(table["geometry"].to_numpy()), columns
    meta, _, geometry, fields = pyogrio.raw.read(path, layer=path.stem)
    return shapely.from_wkb(geometry), dict(zip(meta["fields"], fields, strict=True))


def written(folder: Path, labels: np.ndarray, name: str = "a.fgb", **settings: Any) -> Any:
    """Write polygons and read them."""
    write_polygons(scene(labels, 9), folder / name, PolygonSpec(**settings))
    return read(folder / name)


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_burnt_again_they_are_the_map(tmp_path: Path, suffix: str) -> None:
    """And every sample bears the id that it has in the table of components."""
    labels = noise()
    shapes, fields = written(tmp_path, labels, "a" + suffix)
    order = np.argsort(fields["object_id"])  # a FlatGeobuf is sorted by place
    assert shapely.is_valid(shapes).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()
    assert shapely.coverage_is_valid(shapes)
    affine = Affine(*MATRIX[:2].ravel())
    pairs = list(zip(shapes, fields["class_id"].tolist(), strict=True))
    burnt = rasterize(pairs, labels.shape, transform=affine, dtype=np.uint8)
    np.testing.assert_array_equal(burnt, np.where(labels == 9, 0, labels))
    table = component_table(scene(labels, 9))
    wanted = table.class_ids > 0
    assert fields["object_id"][order].tolist() == table.ids[wanted].tolist()
    assert fields["area_m2"][order].tolist() == (100.0 * table.sizes[wanted]).tolist()
    np.testing.assert_allclose(fields["area_m2"], shapely.area(shapes), rtol=1e-12)
    np.testing.assert_allclose(fields["perimeter_m"], shapely.length(shapes), rtol=1e-9)
    assert set(fields["class_name"]) == {"class 1", "class 2", "class 3"}


def test_corners_join_with_eight_neighbours(tmp_path: Path) -> None:
    labels = noise()
    shapes, fields = written(tmp_path, labels, "a.parquet", connectivity=8)
    table = component_table(scene(labels, 9), 8)
    wanted, order = table.class_ids > 0, np.argsort(fields["object_id"])
    assert fields["object_id"][order].tolist() == table.ids[wanted].tolist()
    assert fields["area_m2"][order].tolist() == (100.0 * table.sizes[wanted]).tolist()
    assert shapely.is_valid(shapes).all()
    assert (shapely.get_num_geometries(shapes) > 1).any()
    assert set(shapely.get_type_id(shapes)) == {shapely.GeometryType.MULTIPOLYGON}
    np.testing.assert_allclose(fields["area_m2"], shapely.area(shapes), rtol=1e-12)


def test_classes_smallest_area_and_dissolve(tmp_path: Path) -> None:
    labels = noise()
    shapes, fields = written(tmp_path, labels, classes=(3, "class 1"), min_area=500.0)
    table = component_table(scene(labels, 9))
    wanted = np.isin(table.class_ids, (1, 3)) & (table.sizes >= 5)
    assert 10 < wanted.sum() < len(wanted) / 3
    assert sorted(fields["object_id"]) == table.ids[wanted].tolist()
    shapes, fields = written(tmp_path, labels, dissolve=True, classes=None)
    assert sorted(fields["class_id"]) == [1, 2, 3]
    assert "object_id" not in fields
    assert shapely.is_valid(shapes).all()
    for shape, label, area in zip(shapes, fields["class_id"], fields["area_m2"], strict=True):
        assert area == 100.0 * (labels == label).sum() == pytest.approx(shape.area, rel=1e-12)


def test_simplified_neighbours_go_on_sharing(tmp_path: Path) -> None:
    """The tolerance is in metres, 10 to a sample; areas are told as they were."""
    shapes, fields = written(tmp_path, noise(), "a.parquet")
    for method in ("visvalingam", "douglas-peucker"):
        thin, told = written(tmp_path, noise(), "b.parquet", simplify=15.0, method=method)
        assert told["object_id"].tolist() == fields["object_id"].tolist()
        assert told["area_m2"].tolist() == fields["area_m2"].tolist()
        np.testing.assert_allclose(told["perimeter_m"], shapely.length(thin), rtol=1e-9)
        assert shapely.is_valid(thin).all()
        assert shapely.coverage_is_valid(thin)
        corners = [shapely.get_num_coordinates(each).sum() for each in (shapes, thin)]
        assert corners[1] < 0.9 * corners[0]
        assert shapely.hausdorff_distance(thin, shapes).max() < 100


def test_a_tolerance_beyond_all_is_no_overflow(tmp_path: Path) -> None:
    for method in ("visvalingam", "douglas-peucker"):
        some = written(tmp_path, noise(), "a.parquet", simplify=1e9, method=method)[0]
        every = written(tmp_path, noise(), "b.parquet", simplify=1e300, method=method)[0]
        assert shapely.to_wkb(every).tolist() == shapely.to_wkb(some).tolist()
        assert shapely.coverage_is_valid(every)


def test_smoothed_neighbours_go_on_sharing(tmp_path: Path) -> None:
    """By less than half a sample, which is 5 m; areas are told as they were."""
    shapes, fields = written(tmp_path, noise(), "a.parquet")
    for simplify in (0.0, 12.0):
        made, told = written(tmp_path, noise(), "b.parquet", smooth=True, simplify=simplify)
        for name in ("object_id", "area_m2"):
            assert told[name].tolist() == fields[name].tolist()
        np.testing.assert_allclose(told["perimeter_m"], shapely.length(made), rtol=1e-9)
        assert shapely.is_valid(made).all()
        assert shapely.coverage_is_valid(made)
        assert shapely.length(made).sum() < 0.99 * shapely.length(shapes).sum()
        if not simplify:
            assert shapely.hausdorff_distance(made, shapes).max() < 5


def test_right_angles_are_those_on_the_ground(tmp_path: Path) -> None:
    """In degrees at 60 north, where a degree of longitude is half as long as one of latitude."""
    matrix = np.array([[2e-5, 0, 10], [0, -1e-5, 60], [0, 0, 1]])
    y, x = np.indices((60, 60)) - 30
    along, across = x * 0.8 + y * 0.6, y * 0.8 - x * 0.6  # samples are square on the ground
    labels = ((np.abs(along) < 22) & (np.abs(across) < 11)).astype(np.uint8)
    space = Space(SpaceKind.GEOGRAPHIC, CRS.from_epsg(4326).to_wkt(), None)
    source = MemorySource(labels[np.newaxis], Grid.from_matrix(labels.shape, matrix, space))
    write_polygons(source, tmp_path / "a.parquet", PolygonSpec(regularize=("class 1",)))
    shapes, fields = read(tmp_path / "a.parquet")
    geod = CRS.from_epsg(4326).get_geod()
    lon, lat = shapely.get_coordinates(shapes[0]).T
    angles, _, lengths = geod.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    assert len(angles) == 4
    np.testing.assert_allclose((angles - angles[0] + 5) % 90 - 5, 0, atol=0.3)
    assert fields["perimeter_m"][0] == pytest.approx(sum(lengths), rel=1e-3)
    sides = sorted(lengths / (1e-5 * 111_400))
    np.testing.assert_allclose(sides, [22, 22, 44, 44], atol=0.7)


def test_smoothed_perimeters_are_those_on_the_ellipsoid(tmp_path: Path) -> None:
    matrix = np.array([[0.5, 0, 10], [0, -0.5, 70], [0, 0, 1]])
    space = Space(SpaceKind.GEOGRAPHIC, CRS.from_epsg(4326).to_wkt(), None)
    y, x = np.indices((40, 40)) - 20
    labels = (x**2 + y**2 < 150).astype(np.uint8)
    grid = Grid.from_matrix(labels.shape, matrix, space)
    for smooth in (False, True):
        spec = PolygonSpec(smooth=smooth)
        write_polygons(MemorySource(labels[np.newaxis], grid), tmp_path / "a.parquet", spec)
        shapes, fields = read(tmp_path / "a.parquet")
        dense = shapely.segmentize(shapes[0], 0.01)  # sides are straight in degrees
        there = abs(CRS.from_epsg(4326).get_geod().geometry_area_perimeter(dense)[1])
        assert fields["perimeter_m"][0] == pytest.approx(there, rel=2e-4)


def test_scores_are_means(tmp_path: Path) -> None:
    labels = noise(12)
    scores = np.random.default_rng(3).random((1, 12, 12))
    source = scene(labels, 9)
    given = MemorySource(scores, source.grid)
    write_polygons(source, tmp_path / "a.parquet", PolygonSpec(), scores=given)
    _, fields = read(tmp_path / "a.parquet")
    table = component_table(source, scores=given)
    assert table.scores is not None
    order = np.argsort(fields["object_id"])
    assert fields["score"][order].tolist() == table.scores[table.class_ids > 0].tolist()


def test_geoparquet_tells_where_it_lies(tmp_path: Path) -> None:
    shapes, _ = written(tmp_path, noise(), "a.parquet")
    file = pq.ParquetFile(tmp_path / "a.parquet")
    geo = json.loads(file.metadata.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert CRS.from_json_dict(column["crs"]) == CRS.from_epsg(32633)
    assert column["bbox"] == [*shapely.total_bounds(shapes)]
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert column["geometry_types"] == ["Polygon"]
    boxes = file.read(["bbox"])["bbox"].to_pylist()
    assert [list(box.values()) for box in boxes] == shapely.bounds(shapes).tolist()


def test_nothing_to_outline_is_a_file_without_features(tmp_path: Path) -> None:
    for name in ("a.gpkg", "a.fgb", "a.parquet", "a.geojson"):
        shapes, fields = written(tmp_path, np.zeros((5, 4), np.uint8), name)
        assert len(shapes) == 0
        assert "class_id" in fields or name == "a.geojson"


def test_rows_that_run_upwards(tmp_path: Path) -> None:
    grid = Grid.from_matrix((40, 40), np.diag([2.0, 3.0, 1.0]))
    source = MemorySource(noise()[np.newaxis], grid, nodata=9)
    write_polygons(source, tmp_path / "a.parquet", PolygonSpec())
    shapes, fields = read(tmp_path / "a.parquet")
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()
    assert shapely.is_valid(shapes).all()
    np.testing.assert_allclose(fields["area"], shapely.area(shapes))
    np.testing.assert_allclose(fields["perimeter"], shapely.length(shapes))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"connectivity": 6}, "connectivity 6 does not exist for polygons; take 4, 8"),
        ({"min_area": -1.0}, "least area -1.0 is not 0 or more"),
        ({"min_area": "big"}, "least area 'big' is not 0 or more"),
        ({"min_area": 10**400}, "is not 0 or more"),
        ({"simplify": float("nan")}, "tolerance nan is not 0 or more"),
        ({"simplify": None}, "tolerance None is not 0 or more"),
        ({"smooth": 3}, "smooth 3 is not true or false"),
        ({"dissolve": "no"}, "dissolve 'no' is not true or false"),
        ({"classes": "sea"}, "classes 'sea' are no list"),
        ({"classes": 1.5}, "classes 1.5 are no list"),
        ({"method": "magic"}, "method 'magic' does not exist; take visvalingam, douglas-peucker"),
        ({"regularize": "sea"}, "regularize 'sea' are no list"),
        ({"regularize": None}, "regularize None are no list"),
        ({"regularize": ("sea",)}, "has no class 'sea'; it has class 0, class 1"),
        ({"classes": ("sea",)}, "has no class 'sea'; it has class 0, class 1"),
    ],
)
def test_wrong_wishes(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        written(tmp_path, noise(), **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_map_of_too_many_objects_is_refused(tmp_path: Path) -> None:
    source = scene(noise(), 9)
    count = write_polygons(source, tmp_path / "a.fgb", PolygonSpec(), room=300 << 20)
    assert count > 100
    with pytest.raises(BudgetExceeded, match=r"components in the first .* of the budget are left"):
        write_polygons(source, tmp_path / "b.fgb", PolygonSpec(), room=(250 << 20) + 50_000)
    pieces = len(component_table(source).sizes)
    room = (250 << 20) + 600 * pieces  # right angles take half as much again
    assert write_polygons(source, tmp_path / "a.fgb", PolygonSpec(), room=room) == count
    with pytest.raises(BudgetExceeded, match="of the budget are left"):
        write_polygons(source, tmp_path / "b.fgb", PolygonSpec(regularize=(1,)), room=room)
    assert [path.name for path in tmp_path.iterdir()] == ["a.fgb"]


@pytest.mark.parametrize(
    ("name", "size", "extent"),
    [
        *((f"a{suffix}", 4_000, 40) for suffix in (".gpkg", ".fgb", ".parquet", ".geojson")),
        *((f"a{suffix}", 16_000, 40) for suffix in (".gpkg", ".fgb", ".parquet", ".geojson")),
        ("a.geojson", 2_000_000, 150),
    ],
)
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, name: str, size: int, extent: int
) -> None:
    """The corners do not fit, or the polygons do not, of which GDAL hardly tells why."""
    told = r" are free in .*, GDAL says: " if extent > 40 else "cannot write"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OutputFailed, match=told):
            written(tmp_path, noise(extent), name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
def test_a_real_map_in_the_middle(data: Path, tmp_path: Path) -> None:
    """Land cover in Web Mercator, where areas are those on the ellipsoid."""
    with open_source(next(data.rglob("cog_cmap.tif"))) as whole:
        part = CroppedSource(whole, Box((3000, 2500), (3600, 3100)))
        labels, valid = part.read(part.grid.box)[0], part.valid(part.grid.box)
        spec = PolygonSpec(simplify=2 * part.grid.spacing[0])
        write_polygons(part, tmp_path / "a.parquet", PolygonSpec())
        write_polygons(part, tmp_path / "b.parquet", spec)
    shapes, fields = read(tmp_path / "a.parquet")
    assert len(shapes) > 100
    affine = Affine(*part.grid.matrix[:2].ravel())
    pairs = list(zip(shapes, fields["class_id"].tolist(), strict=True))
    burnt = rasterize(pairs, labels.shape, transform=affine, dtype=np.uint8)
    np.testing.assert_array_equal(burnt, np.where(valid, labels, 0))
    assert shapely.coverage_is_valid(shapes)
    thin, told = read(tmp_path / "b.parquet")
    assert shapely.coverage_is_valid(thin)
    assert shapely.is_valid(thin).all()
    assert told["area_m2"].tolist() == fields["area_m2"].tolist()


@pytest.mark.parametrize("name", ["a;b.gpkg", "a!b.fgb", "a\nb.geojson", "x;y/a!b.gpkg"])
def test_names_that_gdal_would_cut_are_refused(tmp_path: Path, name: str) -> None:
    """It would write to .partial.a, and whatever is there would be lost."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="choose another name"):
        written(tmp_path, noise(8), name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["gpkg_contents.gpkg", "SQLite_a.gpkg", "&a.gpkg", "-.GPKG"])
def test_names_that_no_layer_may_have_are_refused_first(tmp_path: Path, name: str) -> None:
    """A GeoPackage's layer is called as its file; GDAL says no once there is something to write."""
    with pytest.raises(ConfigError, match="a GeoPackage may begin with"):
        check_polygon_format(tmp_path / name)
    check_polygon_format((tmp_path / name).with_suffix(".fgb"))


@pytest.mark.parametrize("name", ["a_gpkg.gpkg", "a&b.gpkg", "sqlite.gpkg", "é ü.gpkg"])
def test_names_that_a_layer_may_have_are_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    written(tmp_path, noise(8), name)
    assert pyogrio.list_layers(path)[:, 0].tolist()[0] == path.stem


@pytest.mark.parametrize("suffix", [".fgb", ".gpkg", ".parquet"])
def test_a_folder_in_the_place_of_the_unfinished_file_stays(tmp_path: Path, suffix: str) -> None:
    taken = tmp_path / f".partial.a{suffix}"
    (taken / "mine").mkdir(parents=True)
    with pytest.raises(OutputFailed, match="cannot write"):
        written(tmp_path, noise(8), f"a{suffix}")
    if suffix != ".parquet":
        with pytest.raises(OutputFailed, match="cannot write"):
            write_points(tmp_path / f"a{suffix}", Points(np.zeros((1, 2)), {}), SPACE)
    assert sorted(tmp_path.rglob("*")) == [taken, taken / "mine"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("crs", [None, 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_places_of_their_own_are_written_as_they_are(tmp_path: Path, crs: str | None) -> None:
    """A CRS that no way leads out of, and none: GeoJSON has the map's numbers."""
    space = Space(SpaceKind.LOCAL) if crs is None else Space(SpaceKind.LOCAL, crs)
    labels = np.ones((2, 3), np.uint8)
    source = MemorySource(labels[np.newaxis], Grid.from_matrix(labels.shape, MATRIX, space))
    path = tmp_path / "a.geojson"
    assert write_polygons(source, path, PolygonSpec()) == 1
    place = shapely.from_geojson(json.dumps(json.loads(path.read_text())["features"][0]))
    assert shapely.bounds(place).tolist() == [500_000, 4_999_980, 500_030, 5_000_000]
