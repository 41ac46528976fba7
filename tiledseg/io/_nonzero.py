"""Where an image is not zero: the box around it, and the same with its holes filled.

nnU-Net crops images to the box, and takes statistics over the filled mask (crop_to_nonzero).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ._base import Mask, Source

#: Samples looked at at a time.
_PIECE = 2**22


def strips(source: Source, axis: int = 0) -> Iterator[Box]:
    """Yield the boxes of an image in turn along an axis: whole blocks, about four million samples.

    Args:
        source: The image.
        axis: Which axis.
    """
    shape, block = source.grid.shape, source.blocks[axis]
    rows = max(1, _PIECE // (prod(shape) // shape[axis]))
    rows = max(1, rows // block) * block if block <= 4 * rows else rows
    for low in range(0, shape[axis], rows):
        yield source.grid.box.along(axis, low, min(low + rows, shape[axis]))


def nonzero_box(source: Source) -> Box | None:
    """Return the smallest box outside of which every channel is 0; None: there is nothing."""
    seen = [np.zeros(n, np.bool_) for n in source.grid.shape]
    for box in strips(source):
        there = _nonzero(source, box)
        for axis, found in enumerate(seen):
            others = tuple(a for a in range(there.ndim) if a != axis)
            found[box.slices[axis]] |= there.any(axis=others)
    if not seen[0].any():
        return None
    places = [np.flatnonzero(found) for found in seen]
    return Box(tuple(int(p[0]) for p in places), tuple(int(p[-1]) + 1 for p in places))


def extremes(source: Source, axis: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the least and the largest value of every channel, NaN left out.

    Args:
        source: The image.
        axis: An axis whose slices each have their own, or None.

    Returns:
        Two arrays that broadcast with (c, *image).
    """
    ndim = source.grid.ndim
    others = tuple(a + 1 for a in range(ndim) if a != axis)
    low, high = [], []
    for box in strips(source, axis or 0):
        values = source.read(box)
        low.append(np.fmin.reduce(values, axis=others, keepdims=True))
        high.append(np.fmax.reduce(values, axis=others, keepdims=True))
    if axis is None:
        return np.fmin.reduce(low), np.fmax.reduce(high)
    return np.concatenate(low, axis=axis + 1), np.concatenate(high, axis=axis + 1)


class FilledMask:
    """Where an image is not zero in some channel, holes among such samples included.

    A hole is a part without a way out of the image through faces of samples. One bit per sample is
    kept, and found when it is asked for.

    Args:
        source: The image.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._lock = source, threading.Lock()
        *rows, last = source.grid.shape
        self.nbytes = prod(rows) * -(-last // 8)

    @cached_property
    def _found(self) -> NDArray[np.uint8]:
        outside = _Outside(self._source)
        return np.concatenate([np.packbits(~outside(box), axis=-1) for box in strips(self._source)])

    def read(self, box: Box) -> Mask:
        """Return the mask of ``box``, which lies inside the image."""
        with self._lock:
            bits = self._found
        *rows, last = box.slices
        low = last.start // 8
        bits = bits[(*rows, slice(low, -(-last.stop // 8)))]
        plain = np.unpackbits(bits, axis=-1)[..., last.start - 8 * low : last.stop - 8 * low]
        return plain.astype(np.bool_)


class _Outside:
    """Zeros that are connected with the border of the image, strip after strip.

    Parts are numbered strip by strip, and numbered again in a second pass: what is kept of a strip
    is which of its parts touch those of the next.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._first: dict[int, int] = {}
        pairs: list[NDArray[np.int64]] = []
        count, below = 1, None  # part 0 is what lies around the image
        for box in strips(source):
            parts, found = self._parts(box)
            self._first[box.start[0]] = count
            parts[parts > 0] += count - 1
            count += found
            pairs += [_pairs(np.zeros_like(side), side) for side in self._sides(box, parts)]
            if below is not None:
                pairs.append(_pairs(below, parts[0]))
            below = parts[-1]
        # Loaded when a mask is made: few models want one.
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        touching = np.concatenate(pairs, axis=1)
        ones = np.ones(touching.shape[1], np.bool_)
        graph = coo_array((ones, (touching[0], touching[1])), shape=(count, count))
        numbers = connected_components(graph, directed=False)[1]
        self._out = numbers == numbers[0]

    def __call__(self, box: Box) -> Mask:
        """Return where samples of a strip are outside."""
        parts, found = self._parts(box)
        first = self._first[box.start[0]]
        return np.concatenate([[False], self._out[first : first + found]])[parts]

    def _parts(self, box: Box) -> tuple[NDArray[np.int64], int]:
        """Number the connected zeros of a strip from 1; samples that are not zero are 0."""
        from scipy import ndimage

        parts, found = ndimage.label(~_nonzero(self._source, box))
        return parts.astype(np.int64), int(found)

    def _sides(self, box: Box, parts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield the sides of a strip that are sides of the image."""
        if box.start[0] == 0:
            yield parts[0]
        if box.stop[0] == self._source.grid.shape[0]:
            yield parts[-1]
        for axis in range(1, parts.ndim):
            sides = np.moveaxis(parts, axis, 0)
            yield sides[0]
            yield sides[-1]


def _pairs(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which parts of two sides touch, (2, n), each pair once; ``other`` 0 touches none."""
    outer = not one.any()
    there = (other > 0) & ((one > 0) | outer)
    return np.unique(np.stack([one[there], other[there]]), axis=1)


def _nonzero(source: Source, box: Box) -> Mask:
    there: Mask = (source.read(box) != 0).any(axis=0)
    return there
