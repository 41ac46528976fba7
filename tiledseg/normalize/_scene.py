"""Steps that wait for statistics of the image, and become plain ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..moments import Moments
from ._steps import Clip, Linear, Step

How = Literal["score", "score_nonzero", "range", "keep"]
#: Share of a mean below which a deviation is what rounding left of 0.
_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class SceneRange:
    """The scene's ``[low, high]`` percentiles become 0 and 1; values are clipped.

    Args:
        low: Percentile that becomes 0; 0 is the minimum.
        high: Percentile that becomes 1; 100 is the maximum.
        together: Whether all channels share one range, rather than having one each.
        exact: Whether every sample counts, not those of a decimated image only; for minimum and
            maximum.
    """

    kind: ClassVar[str] = "scene_range"
    low: float = 0.0
    high: float = 100.0
    together: bool = False
    exact: bool = False

    def moments(self, samples: NDArray[Any]) -> Moments:
        """Return what is to be known of ``samples``, (c, n)."""
        return Moments.of(samples)

    def fit(self, samples: NDArray[Any]) -> tuple[Step, ...]:
        """Return the fixed steps for valid ``samples``, (c, n)."""
        if (self.low, self.high) == (0, 100):
            return self.fit_moments(self.moments(samples))
        values = samples.reshape(1, -1) if self.together else samples
        ends = np.percentile(values.astype(np.float64), [self.low, self.high], axis=1)
        return _between(ends[0], ends[1])

    def fit_moments(self, moments: Moments) -> tuple[Step, ...]:
        """Return the fixed steps for samples of these moments, from minimum to maximum."""
        found = moments.together() if self.together else moments
        return _between(found.low, found.high)


@dataclass(frozen=True, slots=True)
class SceneScore:
    """The scene's mean becomes 0 and its standard deviation 1.

    Args:
        nonzero: Whether samples that are 0 do not count, and stay 0.
        together: Whether all channels share one mean and deviation.
        exact: Whether every sample counts, not those of a decimated image only.
    """

    kind: ClassVar[str] = "scene_score"
    nonzero: bool = False
    together: bool = False
    exact: bool = False

    def moments(self, samples: NDArray[Any]) -> Moments:
        """Return what is to be known of ``samples``, (c, n)."""
        return Moments.of(samples, self.nonzero)

    def fit(self, samples: NDArray[Any]) -> tuple[Step, ...]:
        """Return the fixed steps for valid ``samples``, (c, n)."""
        return self.fit_moments(self.moments(samples))

    def fit_moments(self, moments: Moments) -> tuple[Step, ...]:
        """Return the fixed steps for samples of these moments."""
        found = moments.together() if self.together else moments
        std = np.sqrt(found.spread / np.maximum(found.count, 1))
        scale = 1 / np.where(std > _EPSILON * np.abs(found.mean), std, 1.0)
        return (Linear(_floats(scale), _floats(-found.mean * scale), self.nonzero),)


@dataclass(frozen=True, slots=True)
class WholeImage:
    """Per channel, by every sample of the image (or of the box it is cropped to).

    ``score``: the mean becomes 0 and the standard deviation 1. ``score_nonzero``: those of samples
    that are not 0 in all channels, or lie in a hole among such; the others become 0. ``range``: the
    minimum becomes 0 and the maximum 1. ``keep``: the channel is left as it is. The numbers are
    nnU-Net's to the last bit: see `tiledseg.io.fit_to`.
    """

    kind: ClassVar[str] = "whole_image"
    how: tuple[How, ...] = ("score",)


SceneStep = SceneRange | SceneScore


def _between(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[Step, ...]:
    """Return the steps by which ``low`` becomes 0 and ``high`` 1."""
    span = np.where(high > low, high - low, 1.0)
    return (Linear(_floats(1 / span), _floats(-low / span)), Clip((0.0,), (1.0,)))


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
