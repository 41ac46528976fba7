"""Intervals over cases by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Figures = NDArray[np.float64]


def bootstrap_interval(
    cases: NDArray[Any],
    statistic: Callable[[NDArray[Any]], Any],
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> tuple[Figures, Figures]:
    """Return the percentile interval of a statistic over cases drawn with replacement.

    Efron's percentile interval, as `scipy.stats.bootstrap(method="percentile")`, case by case:
    samples of a case are not independent, cases are.

    Args:
        cases: One entry per case, (cases, ...).
        statistic: Function of such an array; a number or an array of one shape.
        seed: What the draws depend on.
        resamples: How many are drawn.
        level: Share of the draws inside.

    Returns:
        Both ends; NaN for fewer than two cases, which say nothing of others.
    """
    count = len(cases)
    if count < 2:
        nothing = np.full(np.shape(statistic(cases)), np.nan)
        return nothing, nothing
    picks = np.random.default_rng(seed).integers(0, count, (resamples, count))
    drawn = np.array([statistic(cases[pick]) for pick in picks], np.float64)
    tail = 50 * (1 - level)
    low, high = (np.full(drawn.shape[1:], np.nan) for _ in range(2))
    for at in np.ndindex(drawn.shape[1:]):
        there = drawn[(slice(None), *at)]
        there = there[~np.isnan(there)]  # draws of cases without that class
        if len(there):
            low[at], high[at] = np.percentile(there, [tail, 100 - tail])
    return low, high
