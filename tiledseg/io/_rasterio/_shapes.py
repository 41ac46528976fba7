"""Outlines -> mask; outlines from one CRS to another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import geometry_mask, rasterize
from rasterio.transform import Affine
from rasterio.warp import transform_bounds, transform_geom

from ...errors import ConfigError
from ._source import reason

#: rasterio silences a warning while it burns, which several threads at once undo for each other.
_ONE_AT_A_TIME = threading.Lock()
#: Beyond every CRS; GEOS cannot reckon with numbers whose squares are none.
_END = 1e12
#: Parts of the image's extent that edges of cut polygons are split into.
_PARTS = 64
_POLYGON = shapely.GeometryType.POLYGON


def burn(
    geometries: Sequence[Any], shape: tuple[int, ...], affine: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return the samples whose centre lies in a polygon: GDAL's default rule.

    Args:
        geometries: shapely or GeoJSON-like polygons in world coordinates; none gives all False.
        shape: (y, x).
        affine: Edge-registered 3 x 3 matrix, (x, y) index -> world.

    Returns:
        bool, (y, x).
    """
    if not geometries or 0 in shape:
        return np.zeros(shape, dtype=np.bool_)
    with _ONE_AT_A_TIME:
        mask = geometry_mask(geometries, shape, _transform(affine), invert=True)
    return np.asarray(mask, dtype=np.bool_)


def burn_values(
    geometries: Sequence[Any],
    values: Sequence[int],
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    rest: int,
    dtype: type[np.uint16 | np.int32] = np.uint16,
) -> NDArray[Any]:
    """Return for every sample the value of the last polygon that its centre lies in.

    Args:
        geometries: As `burn`.
        values: One per polygon, of 0 or more.
        shape: (y, x).
        affine: Edge-registered 3 x 3 matrix, (x, y) index -> world.
        rest: Value of samples in no polygon.
        dtype: Of what is returned.

    Returns:
        (y, x).
    """
    whole = np.full(shape, rest, dtype=dtype)
    if len(geometries) and 0 not in shape:
        with _ONE_AT_A_TIME:
            pairs = zip(geometries, values, strict=True)
            rasterize(pairs, out=whole, transform=_transform(affine))
    return whole


def reproject(
    geometries: Sequence[Any], source: str, target: str, bounds: Sequence[tuple[float, float]]
) -> list[Any]:
    """Return polygons, as far as they lie about an image, in the image's CRS.

    Vertices are moved, edges between them stay straight: a long edge of few vertices can run
    off the line it was in the source CRS. Polygons that reach far beyond the image are cut first,
    and their edges get more vertices. A polygon across the antimeridian is cut there.

    Args:
        geometries: shapely polygons and multipolygons, (x, y) or (longitude, latitude).
        source: Their CRS, as WKT or ``EPSG:4326``.
        target: The CRS wanted.
        bounds: The image's (low, high) along x and y of that CRS.

    Raises:
        ConfigError: There is no way from one CRS to the other, or not for all vertices.
    """
    moved, _ = reproject_owned(geometries, source, target, bounds)
    return moved


def reproject_owned(
    geometries: Sequence[Any], source: str, target: str, bounds: Sequence[tuple[float, float]]
) -> tuple[list[Any], NDArray[np.int64]]:
    """Return what `reproject` does, in the order given, and the index of what each was part of."""
    try:
        before, after = CRS.from_user_input(source), CRS.from_user_input(target)
        if before == after:
            return list(geometries), np.arange(len(geometries))
        near, owners = _cut(np.array(list(geometries), dtype=object), before, after, bounds)
        plain = [shapely.geometry.mapping(g) for g in near]
        moved = [shapely.geometry.shape(g) for g in transform_geom(before, after, plain)]
    except Exception as error:  # GDAL's own errors have no public base class in rasterio
        raise ConfigError(
            f"polygons in {_name(source)} cannot be brought into the image's CRS "
            f"{_name(target)}: {reason(error)}; give polygons in the image's CRS"
        ) from error
    if not all(np.isfinite(g.bounds).all() for g in moved):
        raise ConfigError(
            f"polygons in {_name(source)} reach beyond the image's CRS {_name(target)}; cut them "
            "to the surroundings of the image"
        )
    return moved, owners


def _cut(
    geometries: NDArray[Any], crs: CRS, image_crs: CRS, bounds: Sequence[tuple[float, float]]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Cut polygons to the surroundings of an image: its extent in their CRS, three times as large.

    Nothing is cut about an image across the antimeridian, whose extent is no rectangle there.

    Returns:
        The pieces, and the index of what each was part of, ascending.
    """
    (low, high), (bottom, top) = bounds
    west, south, east, north = transform_bounds(image_crs, crs, low, bottom, high, top)
    everything = np.arange(len(geometries))
    if not (np.isfinite([west, south, east, north]).all() and west < east and south < north):
        return geometries, everything
    width, height = east - west, north - south
    rectangle = (west - width, south - height, east + width, north + height)
    far = ~shapely.covered_by(geometries, shapely.box(*rectangle))
    whole = shapely.transform(geometries[far], lambda points: np.clip(points, -_END, _END))
    cut = shapely.clip_by_rect(whole, *rectangle)
    parts, origins = shapely.get_parts(
        shapely.segmentize(cut, max(width, height) / _PARTS), return_index=True
    )
    kept = (shapely.get_type_id(parts) == _POLYGON) & ~shapely.is_empty(parts)
    near = np.concatenate([geometries[~far], parts[kept]])
    owners = np.concatenate([everything[~far], everything[far][origins[kept]]])
    if not len(near):  # all outside, as will be told
        return geometries, everything
    order = np.argsort(owners, kind="stable")
    return near[order], owners[order]


def _transform(affine: NDArray[np.float64]) -> Affine:
    return Affine(*affine[:2].ravel().tolist())


def _name(crs: str) -> str:
    """Return a CRS as a person calls it: the first quoted words of WKT."""
    return crs.split('"')[1] if crs.count('"') > 1 else crs
