"""Samples of one axis made of those of another, in float64, a few columns at a time.

Every sum has a fixed order, and no step looks at anything but its own column: a value depends on
the samples it is made of alone, never on how much is asked for at once.
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from ..resampling import Method, Taps

#: Pole of the recursive filter that makes coefficients of the cubic B-spline (Unser 1993).
_POLE = sqrt(3) - 2
#: Coefficients filtered at a time, at places that the axis alone decides; and the samples on either
#: side at which the recursion begins: what lies beyond counts for 0.27**24 = 2e-14 of a sample.
_BLOCK, _HALO = 32, 24
#: Samples that scipy.ndimage and scikit-image (mode "edge") repeat at the border before filtering.
_EDGE = 12
#: float64 values worked on at a time: 4 MiB of them.
_ROOM = 1 << 19


def margin(method: Method) -> int:
    """Return the most samples of an axis that `reach` asks for besides those below its samples."""
    return 2 * _HALO + 2 * _BLOCK if method == "cubic" else 3


def reach(method: Method, taps: Taps, extent: int) -> tuple[int, int]:
    """Return the half-open range of an axis' samples that taps need.

    Args:
        method: How the taps were made.
        taps: Of an axis, at least one sample.
        extent: Samples of the axis.
    """
    low, high = int(taps.index.min()), int(taps.index.max()) + 1
    if method != "cubic":
        return low, high
    index = _frames(low, high, extent)
    return int(index.min()), int(index.max()) + 1


def along(
    values: NDArray[np.float64], axis: int, method: Method, taps: Taps, extent: tuple[int, int]
) -> NDArray[np.float64]:
    """Return values with one axis replaced by the samples that taps make of it.

    Args:
        values: Any number of axes; along ``axis`` what `reach` asked for.
        axis: The axis.
        method: How the taps were made.
        taps: What the new samples are made of.
        extent: First of the values' samples along the axis, and samples of the whole axis.
    """
    first, whole = extent
    if method == "nearest":
        return values.take(taps.index[:, 0] - first, axis=axis)
    before, after = prod(values.shape[:axis]), prod(values.shape[axis + 1 :])
    columns = values.reshape(before, values.shape[axis], after)
    found = np.empty((before, len(taps.index), after))
    low, high = int(taps.index.min()), int(taps.index.max()) + 1
    frames = _frames(low, high, whole) - first if method == "cubic" else None
    longest = max(len(taps.index), columns.shape[1] if frames is None else frames.size)
    wide = max(1, min(after, _ROOM // longest))
    deep = max(1, _ROOM // longest // wide)
    for a in range(0, before, deep):
        for b in range(0, after, wide):
            part = np.ascontiguousarray(columns[a : a + deep, :, b : b + wide].swapaxes(0, 1))
            if frames is None:
                made = _sum(part, taps.index - first, taps.weight)
            else:
                made = _spline(part, frames, taps, low // _BLOCK)
            found[a : a + deep, :, b : b + wide] = made.swapaxes(0, 1)
    return found.reshape(*values.shape[:axis], -1, *values.shape[axis + 1 :])


def _sum(
    part: NDArray[np.float64], index: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return weighted sums of the first axis' samples, one tap after the other."""
    total = part[index[:, 0]]
    total *= weight[:, :1, None]
    for tap in range(1, index.shape[1]):
        step = part[index[:, tap]]
        step *= weight[:, tap : tap + 1, None]
        total += step
    return total


def _frames(low: int, high: int, extent: int) -> NDArray[np.int64]:
    """Return the samples that coefficients [low, high) are filtered from, (length, blocks)."""
    blocks = np.arange(low // _BLOCK, (high - 1) // _BLOCK + 1)
    place = np.arange(-_HALO, _BLOCK + _HALO)[:, None] + blocks * _BLOCK
    # Repeated at the border, then mirrored, which is what scipy.ndimage does.
    period = 2 * (extent + 2 * _EDGE)
    folded = (place + _EDGE) % period
    folded = np.minimum(folded, period - 1 - folded)
    index: NDArray[np.int64] = np.clip(folded - _EDGE, 0, extent - 1)
    return index


def _spline(
    part: NDArray[np.float64], frames: NDArray[np.int64], taps: Taps, block: int
) -> NDArray[np.float64]:
    """Return sums of spline coefficients, filtered from the first axis' samples block by block."""
    y = part[frames]
    y[0] *= 1 / (1 - _POLE)
    for row in range(1, len(y)):
        y[row] += _POLE * y[row - 1]
    y[-1] *= -_POLE / (1 - _POLE)
    for row in range(len(y) - 2, -1, -1):
        np.subtract(y[row + 1], y[row], out=y[row])
        y[row] *= _POLE
    kept = y[_HALO : _HALO + _BLOCK].swapaxes(0, 1).reshape(-1, *part.shape[1:])
    return _sum(kept, taps.index - block * _BLOCK, taps.weight)
