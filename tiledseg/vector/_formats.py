"""Kinds of vector files that are written, by their suffix."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError, UnknownFormat

_DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf"}
#: What is no driver of GDAL here.
PARQUET = "Parquet"
#: Vector tiles, which only polygons are written as.
TILES = "PMTiles"
#: pyogrio cuts paths there, as if they were URLs and names in archives.
_OTHERWISE = frozenset(";!\t\r\n")
#: How the names of layers in a GeoPackage may not begin: GDAL 3.12, ICreateLayer, and the tables of
#: SQLite (sqlite.org/fileformat2.html, 2.6). A layer is called as its file.
_RESERVED = ("gpkg", "sqlite_", *"`~@#$%^&*()+-={}|[]\\:\"'<>?,.")


def check_point_format(path: Path) -> str:
    """Return GDAL's driver for a file of points.

    Raises:
        ConfigError: GDAL would write somewhere else.
        UnknownFormat: No format here has this suffix.
    """
    return _driver(path, "points", _DRIVERS)


def check_polygon_format(path: Path) -> str:
    """Return GDAL's driver for a file of polygons, or `PARQUET`.

    Raises:
        ConfigError: GDAL would write somewhere else.
        UnknownFormat: No format here has this suffix.
    """
    return _driver(path, "polygons", _DRIVERS | {".parquet": PARQUET, ".pmtiles": TILES})


def layer_options(driver: str, crs: str | None) -> dict[str, str]:
    """Return what GDAL is told of a layer.

    Args:
        driver: Its driver.
        crs: Of what is written. GeoJSON as in RFC 7946 has longitudes and latitudes only: GDAL
            would leave other places out.
    """
    if driver == TILES:
        return {}
    if driver != "GeoJSON":
        return {"SPATIAL_INDEX": "YES"}
    return {"RFC7946": "YES"} if crs == "EPSG:4326" else {}


def _driver(path: Path, what: str, drivers: dict[str, str]) -> str:
    if path.suffix.lower() not in drivers:
        raise UnknownFormat(f"cannot write {what} to {path}: known are {', '.join(drivers)}")
    driver = drivers[path.suffix.lower()]
    if driver != PARQUET and not _OTHERWISE.isdisjoint(str(path)):
        raise ConfigError(
            f"cannot write {what} to {str(path)!r}: GDAL takes ; ! and the ends of lines in it for "
            "something else; choose another name"
        )
    if driver == "GPKG" and path.name.lower().startswith(_RESERVED):
        raise ConfigError(
            f"cannot write {what} to {str(path)!r}: no layer of a GeoPackage may begin with "
            "'gpkg', 'sqlite_' or a special character; choose another name"
        )
    return driver
