"""Normalisation by every sample of an image, in one pass for the mean and one for the deviation.

The numbers are those that numpy gives nnU-Net, to the last bit, although no more than a few million
samples are in memory: sums are taken in float32 and in numpy's order. An array whose samples follow
one another in memory is summed in pairs: a half is a multiple of 8 samples, and halves are summed
alike. A part of a larger array is summed in stretches of up to 8192 samples, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..normalize import How, Normalization, Standard
from ._base import Source
from ._nonzero import FilledMask, strips

Floats = NDArray[np.float32]

#: Samples of the stretches in which numpy sums what does not follow one another in memory
#: (NPY_BUFSIZE).
_BUFFER = 8192
#: Samples summed by one call of numpy; its sum of so many is what the halving would give.
_LEAF = 2**22
#: nnU-Net's least standard deviation.
_LEAST = 1e-8


@dataclass(frozen=True)
class Cropped:
    """How an image lies in the array of the tool whose sums are to be met.

    Args:
        whole: Shape of the image before it was cropped.
        axes: Which axis of that array every axis of the image is; None: they agree.
    """

    whole: tuple[int, ...]
    axes: tuple[int, ...] | None = None

    def order(self) -> tuple[int, ...]:
        """Return the axes of the image in the order of the array."""
        axes = tuple(range(len(self.whole))) if self.axes is None else self.axes
        return tuple(axes.index(axis) for axis in range(len(axes)))


def fit_whole(source: Source, normalization: Normalization, cropped: Cropped) -> Normalization:
    """Replace a `WholeImage` step by what it comes to.

    Args:
        source: The image, cropped.
        normalization: A chain that may end in such a step.
        cropped: How the image lies in its array.
    """
    step = normalization.whole
    if step is None:
        return normalization
    mask = FilledMask(source)
    before = Normalization(normalization.steps[:-1])
    found = [
        _standard(_Channel(source, before, cropped, channel), how, mask)
        for channel, how in enumerate(step.how)
    ]
    mean, std = zip(*found, strict=True)
    return Normalization((*before.steps, Standard(mean, std)))


class _Channel:
    """One channel of an image, in float32 and in whatever order it is asked for."""

    def __init__(
        self, source: Source, before: Normalization, cropped: Cropped, channel: int
    ) -> None:
        self._source, self._before, self._channel = source, before, channel
        self._cropped = cropped

    def strips(self) -> Iterator[Floats]:
        """Yield the samples in the order of the array, a few rows at a time."""
        order = self._cropped.order()
        for box in strips(self._source, order[0]):
            values = self._source.read(box)
            valid = self._source.valid(box)
            yield self._before(values, valid)[self._channel].transpose(order)

    def masked(self, mask: FilledMask) -> Iterator[Floats]:
        """Yield the samples where a mask is, in the order of the image."""
        for box in strips(self._source):
            values = self._before(self._source.read(box), self._source.valid(box))
            yield values[self._channel][mask.read(box)]

    @property
    def extents(self) -> tuple[int, ...]:
        """Extents of the image as a part of its array, the last axis running fastest.

        Axes that follow one another in memory are one.
        """
        order = self._cropped.order()
        part = [self._source.grid.shape[axis] for axis in order]
        whole = [self._cropped.whole[axis] for axis in order]
        joined = [part[-1]]
        for axis in range(len(part) - 2, -1, -1):
            if part[axis + 1] == whole[axis + 1]:
                joined[0] *= part[axis]
            else:
                joined.insert(0, part[axis])
        return tuple(n for n in joined if n > 1) or (1,)


def _standard(channel: _Channel, how: How, mask: FilledMask) -> tuple[float, float]:
    """Return what is subtracted from a channel, and what it is divided by then."""
    if how == "keep":
        return 0.0, 1.0
    if how == "range":
        return _range(channel)
    if how == "score_nonzero":
        count = sum(piece.size for piece in channel.masked(mask))
        return _score(lambda: channel.masked(mask), (count,))
    return _score(channel.strips, channel.extents)


def _range(channel: _Channel) -> tuple[float, float]:
    ends = [(piece.min(), piece.max()) for piece in channel.strips()]
    low = min(low for low, _ in ends)
    return float(low), max(float(max(high for _, high in ends) - low), _LEAST)


def _score(pieces: Callable[[], Iterator[Floats]], extents: tuple[int, ...]) -> tuple[float, float]:
    """Return mean and standard deviation, as numpy's `mean` and `std` of a float32 array."""
    count = prod(extents)
    if not count:
        return 0.0, 1.0
    mean = np.float32(float(_sum(_Flow(pieces()), extents)) / count)
    squares = _Flow((piece - mean) ** 2 for piece in pieces())
    variance = np.float32(float(_halved(squares, count)) / count)
    return float(mean), max(float(np.sqrt(variance)), _LEAST)


class _Flow:
    """Samples one after the other, taken in stretches of any length."""

    def __init__(self, pieces: Iterator[Floats]) -> None:
        self._pieces = pieces
        self._left = np.empty(0, np.float32)

    def take(self, count: int) -> Floats:
        """Return the next samples."""
        taken = [self._left]
        have = self._left.size
        while have < count:
            taken.append(np.ascontiguousarray(next(self._pieces)).reshape(-1))
            have += taken[-1].size
        joined = np.concatenate(taken) if len(taken) > 1 else taken[0]
        self._left = joined[count:]
        return joined[:count]


def _sum(flow: _Flow, extents: tuple[int, ...]) -> np.float32:
    """Return numpy's sum of a part of an array, whose axes are coalesced."""
    inner, axis = extents[-1], len(extents) - 2
    while axis >= 0 and inner * extents[axis] <= _BUFFER:
        inner *= extents[axis]
        axis -= 1
    if axis < 0:
        return _halved(flow, inner)
    period, most = inner * extents[axis], max(1, _BUFFER // inner) * inner
    total = np.float32(0)
    for _ in range(prod(extents[:axis])):
        for start in range(0, period, most):
            total += _halved(flow, min(most, period - start))
    return total


def _halved(flow: _Flow, count: int) -> np.float32:
    """Return numpy's sum of samples that follow one another in memory."""
    if count <= _LEAF:
        return np.float32(flow.take(count).sum())
    half = count // 2
    half -= half % 8
    first = _halved(flow, half)
    return np.float32(first + _halved(flow, count - half))
