"""Outlines in corners of samples -> shapes in the world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arcs import Outlines
from ..grid import Grid
from ._area import line_metrics, sample_areas, to_lonlat
from ._degrees import to_degrees
from ._formats import TILES, check_polygon_format
from ._tiles import zoom_levels
from ._wkb import Floats, Ints, Shapes, around, shapes_of, to_world


@dataclass(frozen=True)
class Place:
    """Where the samples of a map lie, and what they measure.

    Args:
        grid: Of the map.
        areas: Of a sample in every row.
        area_field: The field of areas, which tells their unit.
        metrics: Of steps at every line between rows; see `line_metrics`.
        perimeter_field: The field of perimeters.
        crs: Of what is written, or None.
        move: (x, y) of the grid's CRS -> (lon, lat), where that is what is written.
        zooms: First and last zoom level, where vector tiles are written.
        parts: Parts of a sample that corners are told in.
    """

    grid: Grid
    areas: Floats
    area_field: str
    metrics: Floats
    perimeter_field: str
    crs: str | None
    move: Any
    zooms: tuple[int, int] | None = None
    parts: int = 1

    @classmethod
    def of(cls, grid: Grid, path: Path) -> Place:
        """Return the place of a map for a file to be written.

        Raises:
            ConfigError: It has none, and the file wants one.
        """
        driver = check_polygon_format(path)
        zooms = zoom_levels(grid) if driver == TILES else None
        areas, area_field = sample_areas(grid)
        metrics, perimeter_field = line_metrics(grid)
        move = to_lonlat(grid.space) if driver in ("GeoJSON", TILES) else None
        crs = grid.space.crs if move is None else "EPSG:4326"
        return cls(grid, areas, area_field, metrics, perimeter_field, crs, move, zooms)

    @property
    def plane(self) -> tuple[float, float, float]:
        """e, f and g as of `line_metrics`, of steps between corners, in units of the CRS."""
        a, b = self.grid.matrix[:2, :2].T / self.parts
        return float(a @ a), float(a @ b), float(b @ b)

    def shapes(self, outlines: Outlines, parts: Ints, kind: str) -> tuple[Shapes, Floats]:
        """Return shapes, shells counterclockwise, and their perimeters.

        Args:
            outlines: Of components, feature by feature.
            parts: First component of every feature, and the number of components.
            kind: "Polygon" or "MultiPolygon".

        Raises:
            ConfigError: Longitudes and latitudes are written, and shapes have none.
        """
        corners, rings, shells = outlines.corners, outlines.rings, outlines.shells
        perimeters = around(corners, rings, shells[parts], self.metrics, self.parts)
        mirrored = bool(np.linalg.det(self.grid.matrix[:2, :2]) > 0)  # rows run upwards
        finer = self.grid.matrix @ np.diag([1 / self.parts, 1 / self.parts, 1.0])
        world = to_world(corners, rings, finer, mirrored)
        if self.move is not None:
            world = to_degrees(world, rings, shells, self.move)
        return shapes_of(world, rings, shells, None if kind == "Polygon" else parts), perimeters
