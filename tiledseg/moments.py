"""Count, mean, spread and range of samples, added up from parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Moments:
    """What a scene step needs to know of samples, per channel: float64 (c,).

    Args:
        count: Samples.
        mean: Their mean, 0 where there is none.
        spread: Sum of their squared distances from it.
        low: Their minimum, infinite where there is none.
        high: Their maximum, minus infinite where there is none.
    """

    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, samples: NDArray[Any], nonzero: bool = False) -> Moments:
        """Return those of ``samples``, (c, n); with ``nonzero`` those that are 0 do not count."""
        x = samples.astype(np.float64)
        seen = x != 0 if nonzero else np.ones(x.shape, np.bool_)
        count = seen.sum(axis=1).astype(np.float64)
        mean = x.sum(axis=1, where=seen) / np.maximum(count, 1)
        return cls(
            count,
            mean,
            ((x - mean[:, None]) ** 2).sum(axis=1, where=seen),
            x.min(axis=1, where=seen, initial=np.inf),
            x.max(axis=1, where=seen, initial=-np.inf),
        )

    def __add__(self, other: Moments) -> Moments:
        # Chan, Golub and LeVeque (1983): nothing large is subtracted from its like.
        count = self.count + other.count
        share, apart = other.count / np.maximum(count, 1), other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * share,
            self.spread + other.spread + apart**2 * self.count * share,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    def together(self) -> Moments:
        """Return those of all channels as if they were one."""
        parts = zip(self.count, self.mean, self.spread, self.low, self.high, strict=True)
        return reduce(Moments.__add__, (Moments(*(np.array([v]) for v in p)) for p in parts))
