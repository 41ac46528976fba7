"""The samples between bounds."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...errors import ConfigError
from ...grid import Grid
from .._base import Mask
from ._base import PIECE, Bounds, Roi, flat, outside, piece_steps


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
            raise outside(grid, bounds, "the roi")
        self._grid = grid
        self._bounds = tuple((float(low), float(high)) for low, high in bounds)
        linear = grid.matrix[:-1, :-1]
        self._upright = bool((np.count_nonzero(linear, axis=0) == 1).all())
        self._reach = self._upright_reach() if self._upright else self._tilted_reach()
        self._steps = piece_steps(grid.shape, (1,) * grid.ndim, PIECE)
        self.working_bytes = 0 if self._upright else 20 * prod(self._steps)

    def mask(self, box: Box) -> Mask:
        """Return where samples of ``box`` have their centre within the bounds."""
        wanted = np.zeros(box.shape, dtype=np.bool_)
        reach = box.intersect(self._reach)
        if self._upright:
            wanted[reach.relative_to(box).slices] = reach.size > 0
            return wanted
        for piece in reach.pieces(self._steps):
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
                    f"roi {flat(self._bounds)} must hold the centre of a sample, found none along "
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
            raise outside(self._grid, self._bounds, "the roi")
        return Box(tuple(low.tolist()), tuple(high.tolist()))


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
