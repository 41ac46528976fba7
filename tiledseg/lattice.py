"""Where windows start along an axis."""

from __future__ import annotations

from enum import StrEnum
from math import ceil

import numpy as np


class Lattice(StrEnum):
    """How window starts are placed along an axis.

    ``aligned``: multiples of the stride; the last start is pulled in to the smallest multiple of
    the model's ``multiple`` that still covers the edge. ``even``: nnU-Net's, evenly spread and
    rounded. ``clamped``: MONAI's, multiples of the stride with the last ones moved inside.
    """

    ALIGNED = "aligned"
    EVEN = "even"
    CLAMPED = "clamped"


def starts(
    kind: Lattice, extent: int, window: int, stride: int | float, multiple: int
) -> tuple[int, ...]:
    """Return the first sample of every window along an axis.

    Args:
        kind: How to place them.
        extent: Samples of the image along the axis.
        window: Samples of a window. Where it is longer than the image a single window is centred
            (``even`` and ``clamped``, as their models pad) or starts at 0 (``aligned``).
        stride: Largest distance between starts; whole but for ``even``.
        multiple: Starts of ``aligned`` are multiples of this.

    >>> starts(Lattice.ALIGNED, 100, 32, 24, 8)
    (0, 24, 48, 72)
    >>> starts(Lattice.EVEN, 100, 32, 24, 8)
    (0, 23, 45, 68)
    >>> starts(Lattice.CLAMPED, 100, 32, 24, 8)
    (0, 24, 48, 68)
    """
    if extent <= window:
        return (0,) if kind is Lattice.ALIGNED else (-((window - extent) // 2),)
    last = extent - window
    count = ceil(last / stride) + 1
    if kind is Lattice.EVEN:
        # nnU-Net v2 compute_steps_for_sliding_window: round half to even, as numpy does.
        step = last / (count - 1)  # first the mean step, then the products, as it does
        return tuple(int(np.round(step * i)) for i in range(count))
    if kind is Lattice.ALIGNED:
        last = ceil(last / multiple) * multiple
    return tuple(min(i * int(stride), last) for i in range(count))
