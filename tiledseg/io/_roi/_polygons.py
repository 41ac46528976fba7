"""The samples in polygons."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import shapely

from ...box import Box
from ...errors import ConfigError
from ...grid import Grid
from .._base import Mask
from .._polygons import VERTEX_BYTES, PlacedPolygons, moved_to
from ._base import Roi, outside, piece_steps

#: Polygons are handed to GDAL anew for every piece, so theirs are larger.
_BURN_PIECE = 2**22
#: Bytes per sample of a piece: GDAL's raster and copies of it.
_BURN_BYTES = 4


class PolygonRoi(Roi):
    """Samples of a 2-D image whose centre lies in a polygon, as GDAL burns them.

    Where an image has ground control points, its fitted affine places the polygons.

    Args:
        grid: Grid of the image.
        geometries: shapely polygons and multipolygons, in the image's world coordinates.
        name: What to call them in a message.

    Raises:
        ConfigError: The image is a volume, there are no polygons, or none reaches the image.
    """

    def __init__(self, grid: Grid, geometries: Sequence[Any], name: str = "polygons") -> None:
        if grid.ndim != 2:
            raise ConfigError(
                f"roi {name} holds polygons, which need a 2-D image, and this one is "
                f"{grid.ndim}-D; give bounds or a mask"
            )
        given = shapely.get_parts(np.array(list(geometries), dtype=object))
        given = given[~shapely.is_empty(given)]
        if not len(given) or (shapely.get_type_id(given) != shapely.GeometryType.POLYGON).any():
            raise ConfigError(
                f"roi {name} must hold polygons and nothing else, found {len(given)} shapes; give "
                "at least one polygon"
            )
        self._grid = grid
        self._polygons = PlacedPolygons(grid, given)
        if not len(self._polygons):
            west, south, east, north = shapely.total_bounds(given).tolist()
            raise outside(grid, ((west, east), (south, north)), f"roi {name}")
        self._steps = piece_steps(grid.shape, (1, 1), _BURN_PIECE)
        self.working_bytes = VERTEX_BYTES * self._polygons.vertices
        self.working_bytes += _BURN_BYTES * prod(self._steps)

    def mask(self, box: Box) -> Mask:
        """Return where samples of ``box`` have their centre in a polygon."""
        wanted = np.zeros(box.shape, dtype=np.bool_)
        for piece in box.intersect(self._grid.box).pieces(self._steps):
            wanted[piece.relative_to(box).slices] = self._burn(piece)
        return wanted

    def fingerprint(self) -> dict[str, Any]:
        """Return the hash of the polygons as they lie on the image's samples."""
        digest = hashlib.sha256()
        for polygon in self._polygons.polygons:
            digest.update(shapely.to_wkb(polygon, byte_order=1))
        return {"roi": "polygons", "count": len(self._polygons), "sha256": digest.hexdigest()}

    def _burn(self, box: Box) -> Mask:
        from .._rasterio import burn

        here = self._polygons.polygons[self._polygons.near(box)]
        mask: Mask = burn(list(here), box.shape, moved_to(box))
        return mask
