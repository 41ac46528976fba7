"""Kinds of vector files that are written, by their suffix."""

from __future__ import annotations

from pathlib import Path

from ..errors import UnknownFormat

_DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf"}
#: What is no driver of GDAL here.
PARQUET = "Parquet"


def check_point_format(path: Path) -> str:
    """Return GDAL's driver for a file of points.

    Raises:
        UnknownFormat: No format here has this suffix.
    """
    return _driver(path, "points", _DRIVERS)


def check_polygon_format(path: Path) -> str:
    """Return GDAL's driver for a file of polygons, or `PARQUET`.

    Raises:
        UnknownFormat: No format here has this suffix.
    """
    return _driver(path, "polygons", _DRIVERS | {".parquet": PARQUET})


def _driver(path: Path, what: str, drivers: dict[str, str]) -> str:
    if path.suffix.lower() not in drivers:
        raise UnknownFormat(f"cannot write {what} to {path}: known are {', '.join(drivers)}")
    return drivers[path.suffix.lower()]
