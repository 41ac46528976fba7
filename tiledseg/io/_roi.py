"""Region of interest: the part of an image that is wanted, asked for box by box.

A sample's answer depends on the sample alone, never on the box it is asked in: arithmetic is done
on indices of the whole image, so that tiles of every size agree.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..box import Box
from ..errors import ConfigError, GridMismatch
from ..grid import Grid
from ..normalize import measured
from ._base import Mask, Source
from ._polygons import VERTEX_BYTES, PlacedPolygons, moved_to

Bounds = tuple[tuple[float, float], ...]

#: Samples judged at a time, so that memory besides the mask does not grow with the box.
_PIECE = 2**20
#: Polygons are handed to GDAL anew for every piece, so theirs are larger.
_BURN_PIECE = 2**22
#: Bytes per sample of a piece: GDAL's raster and copies of it.
_BURN_BYTES = 4


class Roi(ABC):
    """The part of one image that is wanted.

    Attributes:
        working_bytes: Host memory that is held, and that a call takes besides its result.

    ``mask`` may be called from several threads at once; results belong to the caller.
    """

    working_bytes: int = 0

    @abstractmethod
    def mask(self, box: Box) -> Mask:
        """Return where samples of ``box`` are wanted: bool, box.shape.

        The box may stick out of the image, where nothing is wanted.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Return JSON values that change when the roi does."""

    def files(self) -> list[Path]:
        """Return the local files of a mask."""
        return []

    def close(self) -> None:  # noqa: B027 - only an image is held open
        """Give back files; the roi is not used afterwards."""


class BoxRoi(Roi):
    """Samples whose centre lies between bounds along every world axis: low <= centre < high.

    Args:
        grid: Grid of the image.
        bounds: (low, high) in world units per world axis (x, y[, z]), as `Grid.bounds`.

    Raises:
        ConfigError: Bounds of another number of axes, not finite or with low >= high, or none
            of the image's samples lies within.
    """

    def __init__(self, grid: Grid, bounds: Bounds) -> None:
        _check_bounds(grid, bounds)
        if _apart(grid.bounds, bounds):
            raise _outside(grid, bounds, "the roi")
        self._grid = grid
        self._bounds = tuple((float(low), float(high)) for low, high in bounds)
        linear = grid.matrix[:-1, :-1]
        self._upright = bool((np.count_nonzero(linear, axis=0) == 1).all())
        self._reach = self._upright_reach() if self._upright else self._tilted_reach()
        self._steps = _piece_steps(grid.shape, (1,) * grid.ndim, _PIECE)
        self.working_bytes = 0 if self._upright else 20 * prod(self._steps)

    def mask(self, box: Box) -> Mask:
        """Return where samples of ``box`` have their centre within the bounds."""
        wanted = np.zeros(box.shape, dtype=np.bool_)
        reach = box.intersect(self._reach)
        if self._upright:
            wanted[reach.relative_to(box).slices] = reach.size > 0
            return wanted
        for piece in _pieces(reach, self._steps):
            wanted[piece.relative_to(box).slices] = self._judge(piece)
        return wanted

    def fingerprint(self) -> dict[str, Any]:
        """Return the bounds."""
        return {"roi": "box", "bounds": [list(pair) for pair in self._bounds]}

    def _judge(self, box: Box) -> Mask:
        """Compare every centre; a matrix product could round by the size of the box."""
        inside = np.ones(box.shape, dtype=np.bool_)
        for world, (low, high) in enumerate(self._bounds):
            centre: Any = self._grid.matrix[world, -1]
            for axis in range(self._grid.ndim):
                centre = centre + self._share(world, axis, box)
            inside &= (centre >= low) & (centre < high)
        return inside

    def _share(self, world: int, axis: int, box: Box) -> NDArray[np.float64]:
        """Return what an array axis adds to a world coordinate of centres, to be broadcast."""
        n = self._grid.ndim
        index = np.arange(box.start[axis], box.stop[axis]) + 0.5
        shape = [1] * n
        shape[axis] = len(index)
        share: NDArray[np.float64] = (index * self._grid.matrix[world, n - 1 - axis]).reshape(shape)
        return share

    def _upright_reach(self) -> Box:
        """Return the samples within the bounds, where index axes run along world axes."""
        start, stop = [], []
        for axis in range(self._grid.ndim):
            world = int(np.flatnonzero(self._grid.matrix[:-1, self._grid.ndim - 1 - axis])[0])
            low, high = self._bounds[world]
            centre = self._grid.matrix[world, -1] + self._share(world, axis, self._grid.box).ravel()
            within = np.flatnonzero((centre >= low) & (centre < high))
            if not len(within):
                raise ConfigError(
                    f"roi {_flat(self._bounds)} must hold the centre of a sample, found none along "
                    f"{'xyz'[world]}; make it larger than a sample ({self._grid.spacing[axis]:g})"
                )
            start.append(int(within[0]))
            stop.append(int(within[-1]) + 1)
        return Box(tuple(start), tuple(stop))

    def _tilted_reach(self) -> Box:
        """Return a box of samples that all those within the bounds lie in."""
        corners = self._grid.world_to_index(list(product(*self._bounds)))
        low = np.floor(corners.min(axis=0)).clip(0, self._grid.shape).astype(int)
        high = np.ceil(corners.max(axis=0)).clip(0, self._grid.shape).astype(int)
        if (low >= high).any():
            raise _outside(self._grid, self._bounds, "the roi")
        return Box(tuple(low.tolist()), tuple(high.tolist()))


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
            raise _outside(grid, ((west, east), (south, north)), f"roi {name}")
        self._steps = _piece_steps(grid.shape, (1, 1), _BURN_PIECE)
        self.working_bytes = VERTEX_BYTES * self._polygons.vertices
        self.working_bytes += _BURN_BYTES * prod(self._steps)

    def mask(self, box: Box) -> Mask:
        """Return where samples of ``box`` have their centre in a polygon."""
        wanted = np.zeros(box.shape, dtype=np.bool_)
        for piece in _pieces(box.intersect(self._grid.box), self._steps):
            wanted[piece.relative_to(box).slices] = self._burn(piece)
        return wanted

    def fingerprint(self) -> dict[str, Any]:
        """Return the hash of the polygons as they lie on the image's samples."""
        digest = hashlib.sha256()
        for polygon in self._polygons.polygons:
            digest.update(shapely.to_wkb(polygon, byte_order=1))
        return {"roi": "polygons", "count": len(self._polygons), "sha256": digest.hexdigest()}

    def _burn(self, box: Box) -> Mask:
        from ._rasterio import burn

        here = self._polygons.polygons[self._polygons.near(box)]
        mask: Mask = burn(list(here), box.shape, moved_to(box))
        return mask


class MaskRoi(Roi):
    """Samples where another image on the same grid is measured and not zero.

    Args:
        grid: Grid of the image.
        source: The mask, of one channel; closed by `close`.

    Raises:
        ConfigError: The mask has several channels.
        GridMismatch: It does not lie on the image's grid.
    """

    def __init__(self, grid: Grid, source: Source) -> None:
        if len(source.channels) != 1:
            raise ConfigError(
                f"roi {source.uri} must have one channel, found {len(source.channels)} "
                f"({', '.join(source.channels)[:80]}); extract one of them"
            )
        if not grid.like(source.grid):
            raise GridMismatch(
                f"roi {source.uri} must lie on the image's grid: found {_placed(source.grid)}; "
                f"expected {_placed(grid)}; resample it first (gdalwarp, or resample in 3D Slicer)"
            )
        self._source = source
        self._steps = _piece_steps(source.grid.shape, source.blocks, _PIECE)
        # What was read, a reader's copy, validity, and finite numbers.
        piece = prod(self._steps) * (2 * source.dtype.itemsize + 8)
        self.working_bytes = source.working_bytes + piece

    def mask(self, box: Box) -> Mask:
        """Return where samples of ``box`` are measured and not zero."""
        wanted = np.zeros(box.shape, dtype=np.bool_)
        for piece in _pieces(box.intersect(self._source.grid.box), self._steps):
            values = self._source.read(piece)
            seen = measured(values, self._source.valid(piece))
            wanted[piece.relative_to(box).slices] = seen & (values[0] != 0)
        return wanted

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of the mask."""
        return {"roi": "mask", "nodata": repr(self._source.nodata), **self._source.fingerprint()}

    def files(self) -> list[Path]:
        """Return the files of the mask."""
        return self._source.files()

    def close(self) -> None:
        """Close the mask."""
        self._source.close()


# ----------------------------------------------------------------- piece by piece


def _piece_steps(shape: tuple[int, ...], blocks: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """Return the shape of pieces: whole blocks, as many as ``limit`` samples allow, one at least.

    >>> _piece_steps((9, 30, 40), (1, 10, 10), 900)
    (1, 20, 40)
    """
    steps = [min(b, n) for b, n in zip(blocks, shape, strict=True)]
    for axis in reversed(range(len(steps))):
        times = max(1, limit // prod(steps))
        steps[axis] = min(shape[axis], steps[axis] * times)
    return tuple(steps)


def _pieces(box: Box, steps: tuple[int, ...]) -> Iterator[Box]:
    """Cut a box at multiples of ``steps``; an empty box has no pieces."""
    if box.size == 0:
        return
    spans = [
        [(max(a, low), min(b, low + step)) for low in range(a // step * step, b, step)]
        for a, b, step in zip(box.start, box.stop, steps, strict=True)
    ]
    for piece in product(*spans):
        yield Box(tuple(a for a, _ in piece), tuple(b for _, b in piece))


# ----------------------------------------------------------------- sentences


def _check_bounds(grid: Grid, bounds: Bounds) -> None:
    if len(bounds) != grid.ndim:
        raise ConfigError(
            f"roi bounds of a {grid.ndim}-D image are {2 * grid.ndim} numbers, found "
            f"{2 * len(bounds)}; give the low corner, then the high one"
        )
    for axis, (low, high) in zip("xyz", bounds, strict=False):
        if not (np.isfinite([low, high]).all() and low < high):
            raise ConfigError(
                f"roi bounds along {axis} must be two finite numbers, the lower first, found "
                f"{low:.10g} and {high:.10g}; swap or mend them"
            )


def _apart(one: Bounds, other: Bounds) -> bool:
    return any(a[0] >= b[1] or b[0] >= a[1] for a, b in zip(one, other, strict=True))


def _outside(grid: Grid, bounds: Bounds, what: str) -> ConfigError:
    return ConfigError(
        f"{what} lies outside the image (image bounds {_flat(grid.bounds)}, roi "
        f"bounds {_flat(bounds)}); give a roi that meets the image, in its own world units"
    )


def _flat(bounds: Bounds) -> str:
    """Return bounds as they are given: the low corner, then the high one."""
    corners = [f"{pair[end]:.10g}" for end in (0, 1) for pair in bounds]
    return f"({', '.join(corners)})"


def _placed(grid: Grid) -> str:
    crs = grid.space.crs.split('"')[1:2] if grid.space.crs else []
    return f"shape {grid.shape}, bounds {_flat(grid.bounds)}, {' '.join([grid.space.kind, *crs])}"
