"""Polygons on the samples of a 2-D image, found by box."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..box import Box
from ..grid import Grid

#: Bytes a vertex takes while it is burnt: as Python numbers, then GDAL's.
VERTEX_BYTES = 160
#: Parts of a sample that vertices are rounded to: moving them by whole samples is then exact.
_PARTS = 2.0**20
#: Samples from the image's first beyond which polygons are cut: GDAL counts in 32 bits.
_FAR = 2.0**30
#: Beyond every place in the world; still a number when it is squared.
_END = 1e100


class PlacedPolygons:
    """Those of some polygons that reach an image, in (x, y) indices of its samples.

    Vertices are rounded to a millionth of a sample, so a vertex drawn on the centre of a sample is
    on it again wherever in the world the image lies, and the origin of a box is subtracted without
    rounding.

    Args:
        grid: Grid of the image, 2-D; its fitted affine where it has ground control points.
        polygons: shapely polygons of one part each, in the image's world coordinates.

    Attributes:
        polygons: As placed, in the order given.
        owners: Index of every one of them in what was given: a polygon that was cut far outside may
            have become several.
    """

    def __init__(self, grid: Grid, polygons: NDArray[Any]) -> None:
        placed, owners = _on_grid(polygons, grid)
        extents = shapely.bounds(placed).reshape(-1, 4)
        height, width = grid.shape
        west, north, east, south = extents.T
        near = (west < width) & (east > 0) & (north < height) & (south > 0)
        self.polygons, self.owners, self._extents = placed[near], owners[near], extents[near]

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
