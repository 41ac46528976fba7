"""The samples on both sides of the borders between blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ._connectivity import offsets
from ._pieces import Labels, Touching
from ._union import Ints


def block_boxes(shape: tuple[int, ...], block: tuple[int, ...]) -> list[Box]:
    """Return the boxes of a map's blocks, in row-major order; the last ones may be smaller."""
    return list(Box.of_shape(shape).pieces(block))


class Faces:
    """The last samples of finished blocks along every axis, which blocks to come touch.

    Blocks come in row-major order. Two that touch differ along a first axis, and the later one
    finds the earlier one's samples in that axis's front: the whole cross-section of the map along
    the axes that follow, the block's own extent along those before. So a front is held per axis,
    and the one that is being made.

    Args:
        shape: Of the map.
        rank: Along how many axes at once neighbours may lie apart.
    """

    def __init__(self, shape: tuple[int, ...], rank: int) -> None:
        self._shape, self._rank = shape, rank
        self._done: dict[int, Ints] = {}
        self._made: dict[int, Ints] = {}

    def pass_by(self, box: Box, ends: list[Labels], first: int) -> Iterator[Touching]:
        """Yield what of a block touches earlier ones, and keep its own faces.

        Args:
            box: Where the block lies.
            ends: Those of `ends_of`.
            first: Number in the map of the block's first piece.

        Yields:
            Pairs of pieces that touch, many times over; -1 included.
        """
        for axis in range(len(self._shape)):
            low, high = (_numbered(face, first) for face in ends[2 * axis : 2 * axis + 2])
            if all(a == 0 for a in box.start[axis + 1 :]):  # a first block along those that follow
                if axis in self._made:
                    self._done[axis] = self._made[axis]
                extents = box.shape[:axis] + self._shape[axis + 1 :]
                self._made[axis] = np.full(extents, -1, np.int64)
            if box.start[axis]:
                yield from self._pairs(axis, box, low)
            at = (*[slice(None)] * axis, *box.slices[axis + 1 :])
            self._made[axis][at] = high

    def _pairs(self, axis: int, box: Box, face: Ints) -> Iterator[Touching]:
        front = self._done[axis]
        start = (0,) * axis + box.start[axis + 1 :]
        for step in offsets(face.ndim, self._rank - 1):
            there = Box.of_shape(face.shape, start).shift(step).intersect(Box.of_shape(front.shape))
            here = there.shift(tuple(-s for s in step)).relative_to(Box.of_shape(face.shape, start))
            one, other = face[here.slices].ravel(), front[there.slices].ravel()
            yield Touching(one, other, _sides(one, any(step)))


def ends_of(ids: Labels) -> list[Labels]:
    """Return the first and the last samples along every axis of a block's pieces.

    Args:
        ids: Piece of every sample in the block, -1 where there is none.
    """
    return [ids.take([at], axis).squeeze(axis) for axis in range(ids.ndim) for at in (0, -1)]


def _numbered(face: Labels, first: int) -> Ints:
    return np.where(face < 0, np.int64(-1), face + np.int64(first))


def _sides(one: Ints, apart: bool) -> NDArray[np.int64]:
    return np.zeros(len(one), np.int64) if apart else np.ones(len(one), np.int64)
