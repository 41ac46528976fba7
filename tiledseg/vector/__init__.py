"""Class maps as polygons (2-D) and surfaces (3-D); points of a sample."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ._area import row_measures
from ._formats import check_point_format, check_polygon_format
from ._points import Points, read_points, write_points
from ._read import read_fields, read_polygons

__all__ = [
    "Points",
    "PolygonSpec",
    "check_point_format",
    "check_polygon_format",
    "polygons_need",
    "read_fields",
    "read_points",
    "read_polygons",
    "row_measures",
    "surfaces_need",
    "write_points",
    "write_polygons",
    "write_surfaces",
]


#: Names that are loaded when they are first used: surfaces need an extra, polygons take a while.
_LATE = {
    "PolygonSpec": "_features",
    "polygons_need": "_polygons",
    "surfaces_need": "_surfaces",
    "write_polygons": "_polygons",
    "write_surfaces": "_surfaces",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'tiledseg.vector' has no attribute {name!r}")
    return getattr(import_module(f".{_LATE[name]}", __name__), name)
