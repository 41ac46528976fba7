"""Sizes of samples and polygons in units people use; the only door to pyproj."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError

from ..errors import ConfigError
from ..grid import Grid, Space, SpaceKind

#: Difference between the plane and the ellipsoid above which a plane's areas are not taken. UTM
#: stays below in the middle of its zones (0.9996 squared: 0.08 %), equal-area systems everywhere.
_FLAT = 1e-3
#: Rows that are measured at most; those between them are interpolated, to a few parts in 10^6.
_MEASURED = 2049
#: Side in m of the square around a smaller sample that stands for it: positions are rounded.
_SIDE = 20.0


def row_measures(grid: Grid) -> tuple[NDArray[np.float64], str]:
    """Return the size of one sample in every row of axis 0, and its unit.

    One rule for all scenes: areas are those on the ellipsoid of the CRS, of the sample in the
    middle of a row (exact for rows that follow parallels, as in degrees and Mercator). A projected
    CRS is taken as a plane where that differs by less than 0.1 % at the middle and the corners of
    the image: always in equal-area systems, mostly in UTM, never in Mercator off the equator.

    Returns:
        Hectares for scenes with a CRS, millilitres for volumes in patient space, else samples.
    """
    rows = grid.shape[0]
    space = grid.space
    if space.kind is SpaceKind.PATIENT:
        return np.full(rows, grid.sample_measure / 1000), "ml"
    flat = _flat_size(grid)
    if flat is None and space.kind is not SpaceKind.GEOGRAPHIC:
        return np.ones(rows), "samples"
    if flat is not None and not is_distorted(grid):
        return np.full(rows, flat / 1e4), "ha"
    return _geodesic_rows(grid) / 1e4, "ha"


def is_distorted(grid: Grid) -> bool:
    """Whether areas of a scene are to be measured on the ellipsoid; see `row_measures`."""
    if grid.space.kind is SpaceKind.GEOGRAPHIC:
        return True
    flat = _flat_size(grid)
    if flat is None or grid.ndim != 2 or _crs(grid.space) is None:
        return False
    rows, columns = grid.shape
    places = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    sizes = _geodesic(grid, np.array([*places, (rows // 2, columns // 2)], np.float64))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]  # corners may lie beyond what is projected
    return bool((np.abs(flat / sizes - 1) > _FLAT).any())


def _flat_size(grid: Grid) -> float | None:
    """Return the size of a sample on the plane of its CRS in m2 (m3), or None where it has none."""
    if grid.space.kind is SpaceKind.GEOGRAPHIC or grid.space.unit is None:
        return None
    return float(grid.sample_measure * grid.space.unit**grid.ndim)


def _geodesic_rows(grid: Grid) -> NDArray[np.float64]:
    """Return the area of the sample in the middle of every row, in m2; of few rows if many."""
    rows, columns = grid.shape
    some = np.unique(np.linspace(0, rows - 1, min(rows, _MEASURED)).round())
    sizes = _geodesic(grid, np.stack([some, np.full(len(some), columns / 2)], axis=-1))
    there = np.isfinite(sizes)
    if not there.any():
        return np.full(rows, _flat_size(grid) or np.nan)
    return np.interp(np.arange(rows), some[there], sizes[there])


def _geodesic(grid: Grid, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return areas on the ellipsoid in m2 of the samples whose first corners are at (n, 2)."""
    flat = _flat_size(grid)
    wide = 1.0 if flat is None else max(1.0, _SIDE / flat**0.5)
    around = np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * wide - (wide - 1) / 2
    corners = places[:, np.newaxis] + around
    lon, lat = np.moveaxis(grid.index_to_world(corners), -1, 0)
    if grid.space.kind is not SpaceKind.GEOGRAPHIC:
        lon, lat = _to_degrees(grid.space)(lon, lat)
    geod, lat = _geod(grid.space), np.clip(lat, -90, 90)
    sizes = (geod.polygon_area_perimeter(x, y)[0] for x, y in zip(lon, lat, strict=True))
    return np.abs(np.fromiter(sizes, np.float64, len(places))) / wide**2


def sample_areas(grid: Grid) -> tuple[NDArray[np.float64], str]:
    """Return the area of one sample in every row, by the rule of `row_measures`, and its field.

    Returns:
        Square metres and "area_m2" where the grid has a CRS, else world units and "area".
    """
    if is_distorted(grid):
        return row_measures(grid)[0] * 1e4, "area_m2"
    (a, b), (d, e) = grid.matrix[:2, :2].tolist()
    flat = abs(a * e - b * d)  # exact where samples are squares of whole metres
    unit = grid.space.unit
    return np.full(grid.shape[0], flat * (unit or 1.0) ** 2), "area" if unit is None else "area_m2"


def line_metrics(grid: Grid) -> tuple[NDArray[np.float64], str]:
    """Return what steps between the corners of samples measure, and the field of perimeters.

    A step of (dx, dy) samples at a line between rows is sqrt(e dx^2 + 2 f dx dy + g dy^2) long: on
    the ellipsoid where `row_measures` takes areas there, else on the plane.

    Returns:
        e, f and g of every line, (rows + 1, 3); in metres and "perimeter_m" where the grid has a
        CRS, else in world units and "perimeter".
    """
    lines, space = grid.shape[0] + 1, grid.space
    steps = np.array([(0, 1), (1, 0), (1, 1)])  # array order
    if is_distorted(grid):
        some = np.unique(np.linspace(0, lines - 1, min(lines, _MEASURED)).round())
        lengths = np.stack([_geodesic_steps(grid, some, step) for step in steps], axis=-1)
        there = np.isfinite(lengths).all(axis=-1)
        if there.any():
            measured = np.stack(
                [np.interp(np.arange(lines), some[there], each) for each in lengths[there].T], -1
            )
            return _as_metric(measured), "perimeter_m"
    world = steps[:, ::-1] @ grid.matrix[:2, :2].T
    plane = np.linalg.norm(world, axis=1) * (space.unit or 1.0)
    field = "perimeter" if space.unit is None else "perimeter_m"
    return np.tile(_as_metric(plane[np.newaxis]), (lines, 1)), field


def _as_metric(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e, f and g of the lengths of the steps (1, 0), (0, 1) and (1, 1), (n, 3)."""
    e, g, both = np.moveaxis(lengths**2, -1, 0)
    return np.stack([e, (both - e - g) / 2, g], axis=-1)


def _geodesic_steps(
    grid: Grid, lines: NDArray[np.float64], step: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return how long a step is on the ellipsoid, in m, in the middle of some lines.

    Of a step beyond a pole the part on this side stands for all of it.
    """
    flat = _flat_size(grid)
    wide = 1.0 if flat is None else max(1.0, _SIDE / flat**0.5)
    middle = np.stack([lines, np.full(len(lines), grid.shape[1] / 2)], axis=-1)
    ends = [grid.index_to_world(middle + step * wide * half) for half in (-0.5, 0.5)]
    if grid.space.kind is not SpaceKind.GEOGRAPHIC:
        move = _to_degrees(grid.space)
        ends = [np.stack(move(*end.T), axis=-1) for end in ends]
    (lon, lat), (lon_on, lat_on) = (end.T for end in ends)
    kept, kept_on = lat.clip(-90, 90), lat_on.clip(-90, 90)
    found = np.asarray(_geod(grid.space).inv(lon, kept, lon_on, kept_on)[2], np.float64)
    with np.errstate(invalid="ignore"):  # steps beyond the earth are told by their length
        whole, left = np.abs(lat_on - lat), np.abs(kept_on - kept)
    parts: NDArray[np.float64] = np.ones_like(found)
    np.divide(whole, left, out=parts, where=left > 0)
    return found / wide * parts


def projjson(crs: str | None) -> dict[str, Any] | None:
    """Return a CRS as PROJJSON, as GeoParquet wants it; None of None."""
    return None if crs is None else dict(CRS.from_user_input(crs).to_json_dict())


def to_lonlat(space: Space) -> Any:
    """Return a function (x, y) -> (lon, lat) on WGS 84, or None where there is no CRS."""
    if space.crs is None:
        return None
    try:
        return Transformer.from_crs(space.crs, "EPSG:4326", always_xy=True).transform
    except ProjError:  # another planet, and a place of its own, have no way to WGS 84
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
    except ProjError as error:
        raise ConfigError(
            f"points cannot be brought into the map's CRS ({' '.join(str(error).split())[:160]}); "
            "give them in that CRS"
        ) from None
    return np.stack(move(places[:, 0], places[:, 1]), axis=-1)


def _crs(space: Space) -> CRS | None:
    """Return a CRS of the earth; None where it names none."""
    try:
        crs = CRS.from_user_input(space.crs or "")
    except CRSError:
        return None
    return crs if crs.geodetic_crs is not None else None


def _to_degrees(space: Space) -> Any:
    """Return a function (x, y) -> (lon, lat) on the ellipsoid of a projected CRS itself."""
    crs = CRS.from_wkt(space.crs or "")
    return Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform


def _geod(space: Space) -> Geod:
    geod = CRS.from_wkt(space.crs or "").get_geod()
    return geod if geod is not None else Geod(ellps="WGS84")
