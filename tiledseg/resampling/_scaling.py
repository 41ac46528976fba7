"""Between two grids whose axes are parallel: where samples lie, and what they are made of.

Continuous indices are those of `Grid`: registered at the edges of samples, so that the centre of
sample ``i`` is ``i + 0.5``. A `Scaling` leads from the grid of a result to the grid it is made
from; both of the usual conventions are one:

    outer corners together   index_from = scale * index_to              GDAL, scikit-image, nnU-Net
    first centres together   index_from = scale * (index_to - .5) + .5  MONAI

Everything is separable, and a sample depends on its own index alone, never on the box it is asked
in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import GridMismatch
from ..grid import Grid
from ._torch_axis import TorchAxis

#: ``nearest``; ``linear``; ``cubic``: interpolating cubic spline; ``area``: mean of what a sample
#: covers.
Method = Literal["nearest", "linear", "cubic", "area"]
#: Samples that two grids' axes may be apart over a whole image and still count as parallel.
_PARALLEL = 0.01


def everywhere(method: Method, dims: int) -> tuple[Method, ...]:
    """Return a method for every one of so many axes."""
    return (method,) * dims


@dataclass(frozen=True, slots=True)
class Taps:
    """What every sample of a stretch of an axis is made of: sum of ``weight * sample[index]``.

    Args:
        index: (n, t), int64. Inside the axis, but for ``cubic``, whose indices are of coefficients.
        weight: (n, t), float64; rows sum to 1.
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scaling:
    """From edge-registered indices of one grid to those of another: ``scale * index + offset``.

    Args:
        scale: Per axis in array order, positive; above 1 where the grid it leads from is coarser.
        offset: Per axis, in samples of the grid it leads to.
        torch: The axes as torch sees them, where samples are to lie as it finds them.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    torch: tuple[TorchAxis, ...] | None = None

    @classmethod
    def centred(cls, to: tuple[int, ...], of: tuple[int, ...]) -> Scaling:
        """Return the scaling from a grid of shape ``of`` to one of shape ``to``, same corners."""
        return cls(tuple(a / b for a, b in zip(to, of, strict=True)), (0.0,) * len(to))

    @classmethod
    def of_centres(cls, scale: Sequence[float], offset: Sequence[float]) -> Scaling:
        """Return the scaling given for whole-number indices of centres, as MONAI counts."""
        edges = (0.5 * (1 - s) + o for s, o in zip(scale, offset, strict=True))
        return cls(tuple(map(float, scale)), tuple(map(float, edges)))

    @classmethod
    def of_torch(cls, axes: Sequence[TorchAxis]) -> Scaling:
        """Return the scaling by which torch samples an image."""
        plain = cls.of_centres([axis.scale for axis in axes], [axis.offset for axis in axes])
        return cls(plain.scale, plain.offset, tuple(axes))

    @classmethod
    def between(cls, to: Grid, of: Grid, name: str) -> Scaling:
        """Return the scaling from grid ``of`` (called ``name``) to grid ``to``.

        Raises:
            GridMismatch: They lie in different spaces, or their axes do not run alike.
        """
        told = f"{name} must have axes that run as the image's do"
        if (to.ndim, to.space.kind, to.space.crs) != (of.ndim, of.space.kind, of.space.crs):
            raise GridMismatch(
                f"{told}: found {of.ndim} axes in {of.space.kind} space, expected {to.ndim} in "
                f"{to.space.kind} space, of the same CRS; reproject it first (gdalwarp)"
            )
        matrix = np.linalg.solve(to.matrix, of.matrix)  # (x, y[, z]) index of one to the other's
        scale, offset = np.diag(matrix)[:-1], matrix[:-1, -1]
        aside = (matrix[:-1, :-1] - np.diag(scale)) * of.shape[::-1]
        if np.abs(aside).max() > _PARALLEL * max(1.0, np.abs(scale).max()) or (scale <= 0).any():
            raise GridMismatch(
                f"{told}: it is turned or mirrored against them; resample it first (gdalwarp, or "
                "3D Slicer)"
            )
        return cls(tuple(scale[::-1].tolist()), tuple(offset[::-1].tolist()))

    def grid(self, to: Grid, shape: tuple[int, ...]) -> Grid:
        """Return the grid of ``shape`` from which this leads to ``to``."""
        index = np.diag([*self.scale[::-1], 1.0])
        index[:-1, -1] = self.offset[::-1]
        return Grid.from_matrix(shape, to.matrix @ index, to.space)

    def keeps(self, axis: int) -> bool:
        """Whether an axis is left as it is, which torch may do to 1e-16 only."""
        return self.torch is None and self.scale[axis] == 1 and self.offset[axis] == 0

    def centres(self, axis: int, start: int, stop: int) -> NDArray[np.float64]:
        """Return where centres [start, stop) lie, counted from the first centre of the other grid.

        The order of operations is that of scikit-image and nnU-Net, so that ties are theirs.
        """
        if self.torch is not None:
            return self.torch[axis].places(start, stop)
        index = np.arange(start, stop, dtype=np.float64)
        return self.scale[axis] * (index + 0.5) + self.offset[axis] - 0.5

    def taps(self, method: Method, axis: int, extent: int, start: int, stop: int) -> Taps:
        """Return what samples [start, stop) of an axis are made of.

        Args:
            method: How; beyond the border the first and last sample go on.
            axis: Which axis.
            extent: Samples of the other grid along it.
            start: First sample.
            stop: End sample.
        """
        if method == "area":
            return self._areas(axis, extent, start, stop)
        x = np.clip(self.centres(axis, start, stop), -0.5, extent - 0.5)
        if method == "nearest":  # half-way goes up, as in scipy.ndimage of order 0, or to even
            nearest = np.floor(x + 0.5) if self.torch is None else np.rint(x)
            index = nearest.astype(np.int64)[:, None]
            return Taps(np.clip(index, 0, extent - 1), np.ones(index.shape))
        low = np.floor(x)
        t = x - low
        first = low.astype(np.int64)[:, None]
        if method == "linear":
            index = np.clip(first + np.arange(2), 0, extent - 1)
            return Taps(index, np.stack([1 - t, t], axis=1))
        # The cubic B-spline; its coefficients are those of `tiledseg.io._interpolate`.
        weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (t + t**2 - t**3) + 1, t**3]
        return Taps(first + np.arange(-1, 3), np.stack(weights, axis=1))

    def _areas(self, axis: int, extent: int, start: int, stop: int) -> Taps:
        """Weigh samples by their share in the stretch that a sample covers."""
        scale = self.scale[axis]
        low = scale * np.arange(start, stop, dtype=np.float64) + self.offset[axis]
        low = np.clip(low, -scale / 2, extent - scale / 2)[:, None]
        index = np.floor(low).astype(np.int64) + np.arange(ceil(scale) + 1)
        share = np.minimum(low + scale, index + 1.0) - np.maximum(low, index)
        share = np.clip(share, 0, None)
        share[(index < 0) | (index >= extent)] = 0
        total = share.sum(axis=1, keepdims=True)
        return Taps(np.clip(index, 0, extent - 1), share / total)
