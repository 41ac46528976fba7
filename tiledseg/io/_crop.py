"""A part of an image as an image of its own, and the way back into the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..grid import Grid
from ._base import Sink, Source
from ._derived import DerivedSink, DerivedSource


class CroppedSource(DerivedSource):
    """What lies in a box of an image; the box is not part of its identity, but of the plan's grid.

    Args:
        inner: The image.
        box: Inside the image.
    """

    def __init__(self, inner: Source, box: Box) -> None:
        super().__init__(inner)
        self._box, self.grid = box, inner.grid.crop(box)
        self.blocks = tuple(map(min, inner.blocks, box.shape))

    def read(self, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``."""
        return self.inner.read(box.shift(self._box.start))

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where samples of ``box`` were measured."""
        return self.inner.valid(box.shift(self._box.start))


class FramedSource(DerivedSource):
    """A whole of which one part is an image, and the rest has one value, measured everywhere.

    Args:
        inner: The part.
        grid: Of the whole, along the same axes.
        box: Where the part lies in it.
        rest: Value of every channel outside.
    """

    def __init__(self, inner: Source, grid: Grid, box: Box, rest: float) -> None:
        super().__init__(inner)
        self.grid, self._box, self._rest = grid, box, rest

    def read(self, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``."""
        whole = np.full((len(self.channels), *box.shape), self._rest, self.dtype)
        shared = box.intersect(self._box)
        if shared.size:
            part = self.inner.read(shared.relative_to(self._box))
            whole[(slice(None), *shared.relative_to(box).slices)] = part
        return whole

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where samples of ``box`` were measured."""
        whole = np.ones(box.shape, np.bool_)
        shared = box.intersect(self._box)
        if shared.size:
            whole[shared.relative_to(box).slices] = self.inner.valid(shared.relative_to(self._box))
        return whole


class CroppedSink(DerivedSink):
    """Takes boxes of a part and hands them to a sink of the whole, whose rest gets one value.

    Args:
        inner: Sink of the whole, along the same axes.
        shape: Of the whole.
        box: The part.
        rest: Value of every band outside.
    """

    def __init__(self, inner: Sink, shape: tuple[int, ...], box: Box, rest: NDArray[Any]) -> None:
        super().__init__(inner)
        self._shape, self._box, self._rest = shape, box, rest

    def prepare(self) -> None:
        """Prepare the inner sink and write the rest."""
        super().prepare()
        bands = self._rest.reshape(-1, *(1,) * len(self._shape))
        for box in around(self._box, self._shape):
            self.inner.write(box, np.broadcast_to(bands, (len(bands), *box.shape)))

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Put a box of the part into its place."""
        self.inner.write(box.shift(self._box.start), values)


def around(box: Box, shape: tuple[int, ...]) -> Iterator[Box]:
    """Yield disjoint boxes that cover an image but for ``box``; two per axis at most."""
    left = Box.of_shape(shape)
    for axis in range(len(shape)):
        for low, high in ((0, box.start[axis]), (box.stop[axis], shape[axis])):
            if low < high:
                yield left.along(axis, low, high)
        left = left.along(axis, box.start[axis], box.stop[axis])
