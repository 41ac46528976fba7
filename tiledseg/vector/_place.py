"""Outlines in corners of samples -> shapes in the world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..arcs import Outlines
from ..grid import Grid
from ._area import line_metrics, sample_areas, to_lonlat
from ._formats import check_polygon_format

Ints = NDArray[np.int64]


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
    """

    grid: Grid
    areas: NDArray[np.float64]
    area_field: str
    metrics: NDArray[np.float64]
    perimeter_field: str
    crs: str | None
    move: Any

    @classmethod
    def of(cls, grid: Grid, path: Path) -> Place:
        """Return the place of a map for a file to be written."""
        areas, area_field = sample_areas(grid)
        metrics, perimeter_field = line_metrics(grid)
        move = to_lonlat(grid.space) if check_polygon_format(path) == "GeoJSON" else None
        crs = grid.space.crs if move is None else "EPSG:4326"
        return cls(grid, areas, area_field, metrics, perimeter_field, crs, move)

    @property
    def plane(self) -> tuple[float, float, float]:
        """e, f and g as of `line_metrics`, in units of the CRS."""
        a, b = self.grid.matrix[:2, :2].T
        return float(a @ a), float(a @ b), float(b @ b)

    def shapes(
        self, outlines: Outlines, parts: Ints, kind: str
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return shapes, shells counterclockwise, and their perimeters.

        Args:
            outlines: Of components, feature by feature.
            parts: First component of every feature, and the number of components.
            kind: "Polygon" or "MultiPolygon".
        """
        rings, shells = outlines.rings, outlines.shells
        corners = outlines.corners.astype(np.float64)
        perimeters = np.add.reduceat(self._lengths(corners, rings), rings[shells[parts[:-1]]])
        world = self.grid.index_to_world(corners[:, ::-1])
        if np.linalg.det(self.grid.matrix[:2, :2]) > 0:  # rows run upwards: mirrored
            ends = np.repeat(rings[:-1] + rings[1:] - 1, np.diff(rings))
            world = world[ends - np.arange(len(world))]
        if self.move is not None:
            world = np.stack(self.move(world[:, 0], world[:, 1]), axis=-1)
        if kind == "Polygon":
            lists, code = (rings, shells), shapely.GeometryType.POLYGON
            return shapely.from_ragged_array(code, world, lists), perimeters
        code = shapely.GeometryType.MULTIPOLYGON
        return shapely.from_ragged_array(code, world, (rings, shells, parts)), perimeters

    def _lengths(self, corners: NDArray[np.float64], rings: Ints) -> NDArray[np.float64]:
        """Return the length from every corner to the next one, 0 where a ring ends."""
        ahead = np.roll(corners, -1, axis=0)
        dx, dy = (ahead - corners).T
        lines = corners[:, 1].astype(np.int64), ahead[:, 1].astype(np.int64)
        e, f, g = ((self.metrics[lines[0]] + self.metrics[lines[1]]) / 2).T
        lengths: NDArray[np.float64] = np.sqrt(e * dx**2 + 2 * f * dx * dy + g * dy**2)
        lengths[rings[1:] - 1] = 0
        return lengths
