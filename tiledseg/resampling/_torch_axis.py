"""Where torch finds samples, to the last bit.

With a spacing that is a half, three quarters or three halves of another, many samples lie half-way
between two others, or on one of them. scipy goes up where it is half-way; torch's ``grid_sample``
goes to the even one, or to where rounding has pushed the coordinate, which it takes through numbers
from -1 to 1. And a sample that should lie on another gets 1e-16 of its neighbour, so that it is not
0 where that one is. To get what torch gives one must do the same operations in the same order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class TorchAxis(NamedTuple):
    """An axis of an image that is sampled: ``index_of = scale * index_to + offset``.

    Args:
        to: Samples of the result.
        of: Samples of the image.
        scale: Of whole-number indices, which are those of centres.
        offset: The same, in samples of the image.
    """

    to: int
    of: int
    scale: float
    offset: float

    def places(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the indices at which samples [start, stop) of the result lie.

        The grid is that of MONAI's AffineTransform of ``align_corners=False`` in float64, and
        ``padding_mode="border"``: indices of both images go from -1 to 1 between their outer edges
        (monai.networks.utils.to_norm_affine, torch's affine_grid and grid_sampler_unnormalize).
        """
        there = np.array([[2.0 / self.of, 1.0 / self.of - 1.0], [0.0, 1.0]])
        back = np.linalg.inv(np.array([[2.0 / self.to, 1.0 / self.to - 1.0], [0.0, 1.0]]))
        theta = there @ np.array([[self.scale, self.offset], [0.0, 1.0]]) @ back
        place = _base(self.to)[start:stop] * theta[0, 0] + theta[0, 1]
        return np.asarray(np.clip(((place + 1) * self.of - 1) / 2, 0, self.of - 1))


def _base(count: int) -> NDArray[np.float64]:
    """Return torch's places of samples from -1 to 1: linspace from both ends, then drawn in.

    Its linspace multiplies and adds with a single rounding, which wider numbers give here.
    """
    if count == 1:
        return np.zeros(1)
    index, step = np.arange(count), np.longdouble(2.0 / (count - 1))
    ends = np.where(index < count // 2, -1 + step * index, 1 - step * (count - 1 - index))
    return np.asarray(ends.astype(np.float64) * (count - 1) / count)
