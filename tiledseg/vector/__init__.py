"""Class maps as polygons; areas on the earth; points of a sample."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ._area import row_measures
from ._formats import check_point_format, check_polygon_format
from ._points import Points, put_points, read_points, turned_to, write_points
from ._read import read_fields, read_polygons

__all__ = [
    "Points",
    "PolygonSpec",
    "check_point_format",
    "check_polygon_format",
    "polygons_need",
    "put_points",
    "read_fields",
    "read_points",
    "read_polygons",
    "row_measures",
    "stored_polygons",
    "turned_to",
    "write_points",
    "write_polygons",
]


#: Names that are loaded when they are first used: polygons take a while.
_LATE = {
    "PolygonSpec": "_features",
    "polygons_need": "_polygons",
    "stored_polygons": "_stored",
    "write_polygons": "_polygons",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'tiledseg.vector' has no attribute {name!r}")
    return getattr(import_module(f".{_LATE[name]}", __name__), name)
