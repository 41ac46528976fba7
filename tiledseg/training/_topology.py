"""The shape of a U-Net that fits images: where it pools, its kernels, what it costs.

The rules are those of nnU-Net (Isensee et al. 2021, Nature Methods 18, supplementary note 2;
``get_pool_and_conv_props`` of its experiment planning): an axis is pooled while it has at least 8
samples and its spacing is less than twice the least of those that can be pooled; pooling ends where
a single axis would be pooled that has fewer than 12; a convolution
reaches along an axis once its spacing is less than twice the least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

#: Samples an axis must have to be pooled: what is left are 4.
_POOLED = 8
#: Samples an axis must have to be pooled alone.
_POOLED_ALONE = 12
#: Ratio of spacings from which an axis is spared.
_COARSE = 2.0
#: Most channels of a stage, by axes (nnU-Net).
_MOST = {2: 512, 3: 320}
#: Tensors that are kept for the way back per convolution: its output, the norm's, the ReLU's.
_KEPT = 3
#: Bytes per weight: itself, its gradient, two moments of AdamW.
_PER_WEIGHT = 16


@dataclass(frozen=True, slots=True)
class Topology:
    """A U-Net without its width.

    Args:
        window: Extent of a patch, array order: a multiple of what is pooled.
        strides: Stride into every stage per axis; the first is 1.
        kernels: Kernel of every stage per axis.
    """

    window: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    def features(self, width: int) -> tuple[int, ...]:
        """Return the channels of every stage: doubled from stage to stage up to a limit."""
        return tuple(min(width * 2**i, _MOST[len(self.window)]) for i in range(len(self.strides)))

    def architecture(self, width: int, norm: str) -> dict[str, Any]:
        """Return it as a card names it."""
        return {
            "name": "plain_conv_unet",
            "features": list(self.features(width)),
            "kernels": [list(k) for k in self.kernels],
            "strides": [list(s) for s in self.strides],
            "norm": norm,
        }

    def cost(self, width: int, channels: int, classes: int) -> Cost:
        """Return what a patch costs, for a width: the channels of the finest stage."""
        extent = float(prod(self.window))
        kept, weights, products = (channels + _KEPT * classes) * extent, 0.0, 0.0
        into, samples, above, size = channels, extent, 0, 1
        stages = zip(self.features(width), self.strides, self.kernels, strict=True)
        for features, stride, kernel in stages:
            if above:  # the transposed convolution back up, then a stage of twice the features
                up, twice = features * above * prod(stride), 3 * above**2 * size
                kept += (2 * _KEPT + 3) * above * samples
                weights += up + twice
                products += up * samples / prod(stride) + twice * samples
            samples, size, above = samples / prod(stride), prod(kernel), features
            down = (into + features) * features * size
            kept += 2 * _KEPT * features * samples
            weights, products, into = weights + down, products + down * samples, features
        return Cost(products, 4 * kept, _PER_WEIGHT * weights)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a patch costs in training.

    Args:
        products: Multiplications of a pass forwards.
        kept: Bytes that are kept for the way back, float32, per patch.
        weights: Bytes of weights, gradients and moments, whatever the batch.
    """

    products: float
    kept: float
    weights: float


def topology(window: Sequence[int], spacing: Sequence[float]) -> Topology:
    """Return where a U-Net pools, and its kernels.

    Args:
        window: Wanted extent of a patch, array order; it is made a multiple of what is pooled.
        spacing: Of the samples, array order.
    """
    left, steps = [int(n) for n in window], [float(s) for s in spacing]
    dims = len(left)
    kernel = [1] * dims
    strides, kernels = [(1,) * dims], []
    while True:
        least = min(steps)
        reaching = [step < _COARSE * least for step in steps]
        kernel = [3 if k == 3 or r else 1 for k, r in zip(kernel, reaching, strict=True)]
        kernels.append(tuple(kernel))
        able = [axis for axis in range(dims) if left[axis] >= _POOLED]
        if not able:
            break
        finest = min(steps[axis] for axis in able)
        pooled = [axis for axis in able if steps[axis] < _COARSE * finest]
        if len(pooled) == 1 and left[pooled[0]] < _POOLED_ALONE:
            break
        strides.append(tuple(2 if axis in pooled else 1 for axis in range(dims)))
        for axis in pooled:
            left[axis], steps[axis] = ceil(left[axis] / 2), 2 * steps[axis]
    multiple = [prod(s[axis] for s in strides) for axis in range(dims)]
    whole = tuple(ceil(n / m) * m for n, m in zip(window, multiple, strict=True))
    return Topology(whole, tuple(strides), tuple(kernels))
