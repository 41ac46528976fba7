"""Sizes of samples and polygons in units people use; the only door to pyproj."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError

from ..errors import ConfigError
from ..grid import Grid, Space, SpaceKind


def row_measures(grid: Grid) -> tuple[NDArray[np.float64], str]:
    """Return the size of one sample in every row of axis 0, and its unit.

    Returns:
        Hectares for scenes with a CRS (geodesic on the CRS's own ellipsoid where it is
        geographic), millilitres for volumes in patient space, else samples.
    """
    rows = grid.shape[0]
    space = grid.space
    if space.kind is SpaceKind.PATIENT:
        return np.full(rows, grid.sample_measure / 1000), "ml"
    if space.kind is SpaceKind.GEOGRAPHIC:
        return _geodesic_rows(grid), "ha"
    if space.unit is not None:
        return np.full(rows, grid.sample_measure * space.unit**grid.ndim / 1e4), "ha"
    return np.ones(rows), "samples"


def _geodesic_rows(grid: Grid) -> NDArray[np.float64]:
    """Area of the sample in the middle of every row; exact for rows that follow parallels."""
    geod = _geod(grid.space)
    middle = grid.shape[1] / 2
    sizes = np.empty(grid.shape[0])
    for row in range(grid.shape[0]):
        corners = grid.index_to_world(
            [(row, middle), (row, middle + 1), (row + 1, middle + 1), (row + 1, middle)]
        )
        area, _ = geod.polygon_area_perimeter(corners[:, 0], np.clip(corners[:, 1], -90, 90))
        sizes[row] = abs(area) / 1e4
    return sizes


def polygon_area(space: Space) -> tuple[Any, str]:
    """Return a function polygon -> area, and the name of the field for it."""
    if space.kind is SpaceKind.GEOGRAPHIC:
        geod = _geod(space)
        return lambda polygon: abs(geod.geometry_area_perimeter(polygon)[0]), "area_m2"
    if space.unit is not None:
        factor = space.unit**2
        return lambda polygon: polygon.area * factor, "area_m2"
    return lambda polygon: polygon.area, "area"


def to_lonlat(space: Space) -> Any:
    """Return a function (x, y) -> (lon, lat) on WGS 84, or None where there is no CRS."""
    if space.crs is None:
        return None
    try:
        return Transformer.from_crs(space.crs, "EPSG:4326", always_xy=True).transform
    except CRSError:  # another planet has no way to WGS 84
        return None


def into_space(places: NDArray[np.float64], crs: str, space: Space) -> NDArray[np.float64]:
    """Return (n, 2) places of a CRS, x or longitude first, in the CRS of ``space``.

    Raises:
        ConfigError: There is no way from one to the other.
    """
    try:
        if CRS.from_user_input(crs) == CRS.from_user_input(space.crs):
            return places
        move = Transformer.from_crs(crs, space.crs, always_xy=True).transform
    except CRSError as error:
        raise ConfigError(
            f"points cannot be brought into the map's CRS ({' '.join(str(error).split())[:160]}); "
            "give them in that CRS"
        ) from None
    return np.stack(move(places[:, 0], places[:, 1]), axis=-1)


def _geod(space: Space) -> Geod:
    geod = CRS.from_wkt(space.crs or "").get_geod()
    return geod if geod is not None else Geod(ellps="WGS84")
