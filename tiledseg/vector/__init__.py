"""Class maps as polygons (2-D) and surfaces (3-D); points of a sample."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ._area import row_measures
from ._features import check_polygon_format, read_fields, read_polygons
from ._points import Points, read_points, write_points
from ._polygons import polygons_need, write_polygons

__all__ = [
    "Points",
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


def __getattr__(name: str) -> Any:
    """Load surfaces, which need an extra, only when they are asked for."""
    if name not in ("surfaces_need", "write_surfaces"):
        raise AttributeError(f"module 'tiledseg.vector' has no attribute {name!r}")
    return getattr(import_module("._surfaces", __name__), name)
