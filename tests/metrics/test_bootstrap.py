"""Bootstrap intervals: scipy's as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from tiledseg.metrics import bootstrap_interval


def test_the_percentile_interval_is_scipys() -> None:
    values = np.random.default_rng(1).beta(8, 2, 23)
    low, high = bootstrap_interval(values, np.mean, seed=5)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert (float(low), float(high)) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_statistics_of_several_numbers_leave_out_draws_without_a_figure() -> None:
    cases = np.array([[0.9, np.nan], [0.8, 0.5], [0.7, 0.7]])

    def means(some: np.ndarray) -> list[float]:
        rest = some[~np.isnan(some[:, 1]), 1]
        return [some[:, 0].mean(), rest.mean() if len(rest) else np.nan]

    low, high = bootstrap_interval(cases, means)
    assert low.shape == (2,)
    assert (low <= high).all()
    assert 0.5 <= low[1] <= high[1] <= 0.7


def test_one_case_says_nothing_of_others() -> None:
    low, high = bootstrap_interval(np.array([0.9]), np.mean)
    assert np.isnan(low)
    assert np.isnan(high)
