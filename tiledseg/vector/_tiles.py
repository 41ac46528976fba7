"""Zoom levels of vector tiles, as GDAL's driver for PMTiles makes them."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ConfigError
from ..grid import Grid
from ._area import to_lonlat

#: Samples along a tile's side at which its level shows samples one by one; coordinates in it are
#: told to a 16th of that (4096 to a tile).
_SIDE = 256
#: Degrees of the smallest sample, so that there is a logarithm of it.
_LEAST = 1e-12
#: The latitude at which Web Mercator ends: there the world is a square.
_END = 85.06
#: The deepest level that GDAL makes.
_DEEPEST = 22


def zoom_levels(grid: Grid) -> tuple[int, int]:
    """Return the first and the last zoom level of a map's tiles in Web Mercator.

    At the last one a 256th of a tile is a sample or less, in the middle of the map; viewers draw
    its tiles at deeper levels, too. At the first one the map is about as large as a tile.

    Raises:
        ConfigError: The map has no place on the earth, or its middle none on Web Mercator.
    """
    move = to_lonlat(grid.space)
    if move is None or grid.ndim != 2:
        raise ConfigError(
            "tiles lie on the earth, and the map has no CRS that says where; write .gpkg, or give "
            "the map a CRS first"
        )
    middle = np.array(grid.shape) / 2
    corners = grid.index_to_world(middle + np.array([(0, 0), (0, 1), (1, 0)]))
    lon, lat = move(*corners.T)
    if not (np.isfinite(lon).all() and (np.abs(lat) < _END).all()):
        raise ConfigError("the middle of the map has no place on Web Mercator; write .gpkg")
    lon = np.unwrap(lon, period=360)  # across the date line, too
    mercator = np.stack([lon, lat / np.cos(np.radians(lat[0]))], axis=-1)  # near enough in between
    side = max(math.sqrt(abs(np.linalg.det(mercator[1:] - mercator[0]))), _LEAST)
    last = min(_DEEPEST, max(0, math.ceil(math.log2(360 / _SIDE / side))))
    return max(0, last - max(0, math.ceil(math.log2(max(grid.shape) / _SIDE)))), last
