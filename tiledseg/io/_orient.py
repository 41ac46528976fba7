"""An image seen along other axes: permuted and flipped, nothing interpolated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..grid import AxisMap, Grid
from ._base import Sink, Source
from ._derived import DerivedSink, DerivedSource


def axes_to(grid: Grid, codes: str | None, order: tuple[int, ...] | None = None) -> AxisMap | None:
    """Return how a grid's axes lead to those that a model wants, or None where they agree.

    Args:
        grid: Of an image.
        codes: Three letters in array order, see `Grid.reorient`; an image that is not in patient
            space stays as it is. None: any.
        order: Which of the axes along the letters to take one after the other; None: as they are.
    """
    plain = axes = AxisMap(tuple(range(grid.ndim)), (False,) * grid.ndim)
    if codes is not None and grid.orientation not in (None, codes):
        axes = grid.reorient(codes)[1]
    if order is not None:
        taken, flips = zip(*((axes.order[i], axes.flips[i]) for i in order), strict=True)
        axes = AxisMap(taken, flips)
    return None if axes == plain else axes


def oriented(
    source: Source, codes: str | None, order: tuple[int, ...] | None = None
) -> tuple[Source, AxisMap | None]:
    """Return an image along the axes that a model wants, and how it was turned; see `axes_to`."""
    axes = axes_to(source.grid, codes, order)
    return (source, None) if axes is None else (OrientedSource(source, axes), axes)


class OrientedSource(DerivedSource):
    """A volume with array axes that run as anatomical letters say; the plan's grid holds how.

    Args:
        inner: The volume as stored.
        to: Three letters in array order, see `Grid.reorient`; or from the axes stored to others.
    """

    def __init__(self, inner: Source, to: str | AxisMap) -> None:
        super().__init__(inner)
        self._axes = inner.grid.reorient(to)[1] if isinstance(to, str) else to
        self.grid = inner.grid.turn(self._axes)
        self.blocks = tuple(inner.blocks[axis] for axis in self._axes.order)
        if inner.lengths is not None:
            self.lengths = tuple(inner.lengths[axis] for axis in self._axes.order)

    def read(self, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``."""
        return np.ascontiguousarray(self._axes.apply(self.inner.read(self._stored(box))))

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where samples of ``box`` were measured."""
        return np.ascontiguousarray(self._axes.apply(self.inner.valid(self._stored(box))))

    def overview(self, limit: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the volume's own overview, turned."""
        values, valid = self.inner.overview(limit)
        return self._axes.apply(values), self._axes.apply(valid)

    def _stored(self, box: Box) -> Box:
        return self._axes.inverse.box(box, self.grid.shape)


class OrientedSink(DerivedSink):
    """Takes boxes in a turned frame and hands them to a sink in the image's own frame.

    Args:
        inner: Sink on the image's own grid.
        axes: From the image's own axes to the frame of the boxes.
    """

    def __init__(self, inner: Sink, axes: AxisMap) -> None:
        super().__init__(inner)
        self._back = axes.inverse
        own = inner.spec.grid.shape
        self._shape = tuple(own[axis] for axis in axes.order)

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Turn the box and its values back."""
        self.inner.write(self._back.box(box, self._shape), self._back.apply(values))
