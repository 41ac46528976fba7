"""Rings on a map -> rings in longitude and latitude, across the date line in one piece.

Transformations give longitudes of -180 to 180, or leave what was beyond, up to 360 in many global
rasters. Here the corners of a ring follow one another without a jump, and the middle of a polygon
is at -180 to 180: GDAL then cuts what reaches beyond, as RFC 7946 (3.1.9) wants, and loses nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ConfigError
from ._wkb import Floats, Ints

_HALF, _TURN, _POLE = 180.0, 360.0, 90.0
#: Degrees beyond a pole that are rounding.
_ROUNDED = 1e-6


def to_degrees(world: Floats, rings: Ints, shells: Ints, move: Any) -> Floats:
    """Return corners in longitude and latitude, (n, 2).

    Args:
        world: Corners on the map, (n, 2).
        rings: First corner of every ring, and the number of corners.
        shells: First ring of every polygon, its shell, and the number of rings.
        move: (x, y) on the map -> (lon, lat).

    Raises:
        ConfigError: Corners have no such place, or a ring goes around a pole.
    """
    lon, lat = move(world[:, 0], world[:, 1])
    if not (np.isfinite(lon).all() and (np.abs(lat) <= _POLE + _ROUNDED).all()):
        raise ConfigError(
            "corners of polygons have no longitude and latitude: the map reaches beyond the earth, "
            "or its CRS is not what its numbers are in; mend that, or write .gpkg"
        )
    lon = lon + _turns(world, lon, rings, move)
    lengths = np.diff(rings)
    if (np.abs(lon[rings[1:] - 1] - lon[rings[:-1]]) > _HALF).any():
        raise ConfigError(
            "a polygon lies around a pole, where longitudes and latitudes draw no ring around it; "
            "write .gpkg"
        )
    low, high = (each.reduceat(lon, rings[:-1]) for each in (np.minimum, np.maximum))
    middle = (low + high) / 2
    shell = np.repeat(middle[shells[:-1]], np.diff(shells))  # a hole goes where its shell is
    around = np.round((shell - middle) / _TURN) - np.floor((shell + _HALF) / _TURN)
    return np.stack([lon + _TURN * np.repeat(around, lengths), lat.clip(-_POLE, _POLE)], axis=-1)


def _turns(world: Floats, lon: Floats, rings: Ints, move: Any) -> Floats:
    """Return what is added to longitudes so that no edge of a ring jumps.

    A long edge is one, say all along the border of the world, if its middle is in the middle.
    """
    turns = np.zeros(len(lon))
    long = np.abs(np.diff(lon)) > _HALF
    long[rings[1:-1] - 1] = False  # from one ring to the next
    at = np.flatnonzero(long)
    if len(at):
        middles = (world[at] + world[at + 1]) / 2
        off = np.abs(move(middles[:, 0], middles[:, 1])[0] - (lon[at] + lon[at + 1]) / 2)
        at = at[off > _POLE]
        turns[at + 1] = -_TURN * np.sign(lon[at + 1] - lon[at])
        turns = np.cumsum(turns)
        turns -= np.repeat(turns[rings[:-1]], np.diff(rings))
    return turns
