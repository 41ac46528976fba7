"""Polygons on the samples of a 2-D image, found by box."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..box import Box
from ..grid import Grid, SpaceKind

#: Bytes a vertex takes while it is burnt: as Python numbers, then GDAL's.
VERTEX_BYTES = 160
#: Parts of a sample that vertices are rounded to: moving them by whole samples is then exact.
_PARTS = 2.0**20
#: Samples from the image's first beyond which polygons are cut: GDAL counts in 32 bits.
_FAR = 2.0**30
#: Beyond every place in the world; still a number when it is squared.
_END = 1e100
#: Degrees around the world, and the times that longitudes may be counted on.
_TURN, _TURNS = 360.0, 3


class PlacedPolygons:
    """Those of some polygons that reach an image, in (x, y) indices of its samples.

    Longitudes of polygons and image may differ by whole turns: a polygon lies wherever it meets the
    image. Vertices are rounded to a millionth of a sample, so a vertex drawn on the centre of a
    sample is on it again wherever in the world the image lies, and the origin of a box is
    subtracted without rounding.

    Args:
        grid: Grid of the image, 2-D; its fitted affine where it has ground control points.
        polygons: shapely polygons of one part each, in the image's world coordinates.

    Attributes:
        polygons: As placed, in the order given.
        owners: Index of every one of them in what was given: a polygon that was cut far outside may
            have become several, and so may one that meets the image twice.
    """

    def __init__(self, grid: Grid, polygons: NDArray[Any]) -> None:
        polygons, origins = around_the_world(polygons, grid)
        placed, owners = _on_grid(polygons, grid)
        extents = shapely.bounds(placed).reshape(-1, 4)
        height, width = grid.shape
        west, north, east, south = extents.T
        near = (west < width) & (east > 0) & (north < height) & (south > 0)
        self.polygons, self.owners, self._extents = (
            placed[near],
            origins[owners[near]],
            extents[near],
        )

    def __len__(self) -> int:
        return len(self.polygons)

    @property
    def vertices(self) -> int:
        """How many vertices they have."""
        return int(shapely.get_num_coordinates(self.polygons).sum())

    def near(self, box: Box) -> NDArray[np.bool_]:
        """Return which of the polygons have an extent that meets ``box``."""
        (top, left), (bottom, right) = box.start, box.stop
        west, north, east, south = self._extents.T
        return np.asarray((west < right) & (east > left) & (north < bottom) & (south > top))


def around_the_world(polygons: NDArray[Any], grid: Grid) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return polygons with the longitudes that an image has, and the index of what each was.

    Global rasters count from 0 to 360 degrees, and RFC 7946 (3.1.9) from -180 to 180. What meets
    the image nowhere is returned as it is, where there is nothing else; order stays.

    Args:
        polygons: shapely polygons, in the image's world coordinates.
        grid: Grid of the image, 2-D.
    """
    everything = np.arange(len(polygons))
    if grid.space.kind is not SpaceKind.GEOGRAPHIC or not len(polygons):
        return polygons, everything
    west, _, east, _ = shapely.bounds(polygons).T
    low, high = grid.bounds[0]
    turns = np.arange(-_TURNS, _TURNS + 1)[:, np.newaxis] * _TURN
    turn, owners = np.nonzero((west + turns < high) & (east + turns > low))
    if not len(owners) or (turn == _TURNS).all():
        return polygons, everything
    order = np.argsort(owners, kind="stable")
    moves, owners = turns[turn[order], 0], owners[order]
    moved = polygons[owners]
    for move in np.unique(moves[moves != 0]):
        at, step = moves == move, np.array([move, 0.0])
        moved[at] = shapely.transform(moved[at], lambda points, step=step: points + step)
    return moved, owners


def moved_to(box: Box) -> NDArray[np.float64]:
    """Return the matrix from (x, y) indices within a box to those of its image."""
    return np.array([[1.0, 0.0, box.start[1]], [0.0, 1.0, box.start[0]], [0.0, 0.0, 1.0]])


def _on_grid(polygons: NDArray[Any], grid: Grid) -> tuple[NDArray[Any], NDArray[np.int64]]:
    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        placed = grid.world_to_index(points.clip(-_END, _END))[:, ::-1]
        return placed.clip(-(_FAR**2), _FAR**2)  # further out only the side matters

    def rounded(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.round(points * _PARTS) / _PARTS)

    placed = shapely.transform(shapely.force_2d(polygons), place)
    owners = np.arange(len(placed))
    if len(placed) and np.abs(shapely.bounds(placed)).max() > _FAR:
        cut = shapely.clip_by_rect(placed, -_FAR, -_FAR, _FAR, _FAR)
        placed, owners = shapely.get_parts(cut, return_index=True)
        kept = shapely.get_type_id(placed) == shapely.GeometryType.POLYGON
        kept &= ~shapely.is_empty(placed)
        placed, owners = placed[kept], owners[kept]
    return np.asarray(shapely.transform(placed, rounded)), np.asarray(owners)
