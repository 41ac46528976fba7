"""Polygons from files: what is read, what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS

from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.vector import read_polygons

SQUARE = shapely.box(0, 0, 10, 10)
HOLED = shapely.Polygon([(20, 0), (40, 0), (30, 20)], [[(28, 5), (32, 5), (30, 8)]])


def write(
    path: Path,
    shapes: list[Any],
    kind: str = "Polygon",
    crs: str | None = "EPSG:32633",
    **more: Any,
) -> Path:
    wkb = shapely.to_wkb(np.array(shapes, dtype=object))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        pyogrio.raw.write(str(path), wkb, [], [], geometry_type=kind, crs=crs, **more)
    return path


def write_json(path: Path, *geometries: dict[str, Any] | None) -> Path:
    features = [{"type": "Feature", "properties": {}, "geometry": g} for g in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    shapes, crs = read_polygons(write(tmp_path / f"a{suffix}", [SQUARE, HOLED]))
    found = sorted(shapes, key=lambda s: s.bounds)  # FlatGeobuf orders them by place
    assert len(found) == 2
    assert all(a.equals(b) for a, b in zip(found, (SQUARE, HOLED), strict=True))
    assert CRS(crs) == CRS("EPSG:32633")


def test_geojson_that_names_no_crs_is_in_longitude_and_latitude(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", SQUARE.__geo_interface__)
    shapes, crs = read_polygons(path)
    assert shapes[0].equals(SQUARE)
    assert CRS(crs).to_epsg() == 4326


def test_a_file_without_crs(tmp_path: Path) -> None:
    assert read_polygons(write(tmp_path / "a.gpkg", [SQUARE], crs=None))[1] is None


def test_heights_and_features_without_geometry_are_dropped(tmp_path: Path) -> None:
    high = shapely.force_3d(SQUARE, 7.0)
    shapes, _ = read_polygons(write(tmp_path / "a.gpkg", [high], "Polygon Z"))
    assert not shapes[0].has_z
    path = write_json(tmp_path / "b.geojson", None, SQUARE.__geo_interface__)
    assert [s.geom_type for s in read_polygons(path)[0]] == ["Polygon"]


def test_the_first_layer_with_polygons_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.Point(1, 1)], "Point", layer="places")
    several = shapely.MultiPolygon([SQUARE, HOLED])
    write(path, [several], "MultiPolygon", crs="EPSG:4326", layer="fields", append=True)
    write(path, [shapely.box(5, 5, 6, 6)], layer="later", append=True)
    shapes, crs = read_polygons(path)
    assert len(shapes) == 1
    assert shapes[0].equals(several)
    assert CRS(crs).to_epsg() == 4326


def test_no_polygons(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", [shapely.Point(1, 1)], "Point")
    with pytest.raises(ConfigError, match=r"a\.gpkg holds no polygons: found Point"):
        read_polygons(path)
    with pytest.raises(ConfigError, match="holds no polygons: found nothing"):
        read_polygons(write_json(tmp_path / "b.geojson"))
    point = {"type": "Point", "coordinates": [1, 1]}
    path = write_json(tmp_path / "c.geojson", SQUARE.__geo_interface__, point)
    with pytest.raises(ConfigError, match="must hold polygons only, found Point too"):
        read_polygons(path)
    with pytest.raises(ConfigError, match="there is no file"):
        read_polygons(tmp_path / "nowhere.gpkg")


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6, 0.95])
def test_damaged_files(tmp_path: Path, suffix: str, kept: float) -> None:
    shapes = [shapely.box(i, 0, i + 1, 1) for i in range(500)]
    path = write(tmp_path / f"a{suffix}", shapes)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(DamagedInput, match=rf"a\{suffix}"):
        read_polygons(path)


def test_a_ring_that_is_not_closed_is_damage(tmp_path: Path) -> None:
    ring = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9]]]}
    with pytest.raises(DamagedInput, match="closed"):
        read_polygons(write_json(tmp_path / "a.geojson", ring))
