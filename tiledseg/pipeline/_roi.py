"""What the user calls the region of interest -> Roi."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .. import vector
from ..errors import ConfigError
from ..io import (
    BoxRoi,
    MaskRoi,
    PolygonRoi,
    ResampledSource,
    Roi,
    Source,
    open_source,
    oriented,
    reproject,
)
from ..resampling import Scaling, everywhere
from ._grids import Grids

_POLYGON_FILES = (".gpkg", ".geojson", ".json", ".fgb", ".shp")


def open_roi(roi: str | Path | Sequence[float], grids: Grids) -> Roi:
    """Open the region of interest of an image.

    Args:
        roi: Bounds in world units, as numbers or as text with commas: (xmin, ymin, xmax, ymax),
            for a volume (xmin, ymin, zmin, xmax, ymax, zmax), in mm LPS where it lies in patient
            space. Or a path: a polygon file (.gpkg, .geojson, .json, .fgb, .shp) for a 2-D image,
            or an image on the same grid, wanted where it is measured and not zero; a volume may
            be stored along other axes. Polygons are brought into the image's CRS; where image or
            polygons have none, coordinates are taken as the image's own.
        grids: The image on the grids of the run; the roi is asked for on that of the result, and
            a mask lies there or on the image's own.

    Raises:
        ConfigError: There is no such file, it does not fit the image, or it misses the image.
        DamagedInput: The file is not what it claims to be.
        GridMismatch: A mask lies on another grid.
    """
    source, numbers = grids.shown, _numbers(roi)
    if numbers is not None:
        return _box(numbers, source)
    path = str(roi)
    _require_there(path)
    if path.lower().endswith(_POLYGON_FILES):
        return _polygons(Path(path), source)
    return _mask(path, grids)


def _numbers(roi: str | Path | Sequence[float]) -> tuple[float, ...] | None:
    """Return the bounds a roi consists of, or None where it is a path."""
    if isinstance(roi, Path) or (isinstance(roi, str) and "," not in roi):
        return None
    try:
        return tuple(float(part) for part in (roi.split(",") if isinstance(roi, str) else roi))
    except (TypeError, ValueError):
        if isinstance(roi, str):  # a comma in a file's name
            return None
        raise ConfigError(f"roi {roi!r} must be numbers or a path; give bounds or a file") from None


def _require_there(path: str) -> None:
    remote = ":" in path or path.startswith("/vsi")
    if not path.strip() or (not remote and not os.path.exists(path)):
        raise ConfigError(
            f"roi {path!r:.80} must be bounds like 100,200,300,400 or a file, found no such file; "
            "give one that is there"
        )


def _box(numbers: tuple[float, ...], source: Source) -> Roi:
    n = source.grid.ndim
    if len(numbers) != 2 * n:
        order = "xmin, ymin, xmax, ymax" if n == 2 else "xmin, ymin, zmin, xmax, ymax, zmax"
        raise ConfigError(
            f"roi bounds of a {n}-D image are {2 * n} numbers, found {len(numbers)}; give {order}"
        )
    return BoxRoi(source.grid, tuple(zip(numbers[:n], numbers[n:], strict=True)))


def _polygons(path: Path, source: Source) -> Roi:
    if source.grid.ndim != 2:
        raise ConfigError(
            f"roi {path} holds polygons, which need a 2-D image, and {source.uri} is a volume; "
            "give bounds or a mask volume"
        )
    polygons, crs = vector.read_polygons(path)
    wanted = source.grid.space.crs
    if crs is not None and wanted is not None:
        polygons = reproject(polygons, crs, wanted, source.grid.bounds)
    return PolygonRoi(source.grid, polygons, str(path))


def _mask(path: str, grids: Grids) -> Roi:
    grid, image = grids.shown.grid, grids.image.grid
    opened = open_source(path, dims=2 if grid.ndim == 2 else 3)
    try:
        mask, _ = oriented(opened, grid.orientation)
        if grids.crop is not None and mask.grid.shape == grids.crop.shape:
            mask = grids.crop.source(mask)
        if image.like(mask.grid) and not grid.like(mask.grid):
            there = Scaling.between(mask.grid, grid, f"roi {path}")
            picks = everywhere("nearest", grid.ndim)
            mask = ResampledSource(mask, grid.shape, there, picks, border="missing")
        return MaskRoi(grid, mask)
    except BaseException:
        opened.close()
        raise
