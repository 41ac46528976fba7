"""Designing a sample: the paper's sizes, and draws that are uniform whatever the blocks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tiledseg.errors import ConfigError
from tiledseg.metrics import StratifiedDraw, allocate, sample_size

#: Olofsson et al. 2014, section 5.1: shares of the map, expected user's accuracies.
WEIGHTS, USERS = [0.02, 0.015, 0.32, 0.645], [0.7, 0.6, 0.9, 0.95]


def test_size_and_proportional_allocation_of_the_paper() -> None:
    assert sample_size(WEIGHTS, USERS, 0.01) == 641
    assert allocate(641, WEIGHTS) == [13, 10, 205, 413]


def test_rare_classes_get_their_minimum_and_the_others_share_the_rest() -> None:
    """The paper's rule; the stable classes of its table 5 (149, 292) do not follow from it."""
    assert allocate(641, WEIGHTS, 100) == [100, 100, 146, 295]
    assert allocate(100, [0.01, 0.09, 0.90], 20) == [20, 20, 60]
    assert allocate(30, [0.5, 0.5], 50) == [50, 50]


@given(
    st.integers(1, 5000),
    st.lists(st.floats(0.001, 1), min_size=1, max_size=9),
    st.integers(0, 60),
)
@settings(max_examples=100, deadline=None)
def test_every_point_is_allocated_once(total, shares, minimum) -> None:
    weights = np.array(shares) / sum(shares)
    counts = allocate(total, weights, minimum)
    assert min(counts) >= min(minimum, max(counts))
    assert sum(counts) == max(total, minimum * len(counts)) or min(counts) == minimum
    assert sum(counts) >= total


@pytest.mark.parametrize(("users", "error"), [([0.5, 1.2], 0.1), ([0.5, 0.5], 0.0)])
def test_impossible_sizes_are_refused(users, error) -> None:
    with pytest.raises(ConfigError, match="expected accuracies"):
        sample_size([0.5, 0.5], users, error)


def drawn(
    labels: np.ndarray, wanted: dict[int, int], seed: int, rows: int
) -> list[tuple[int, int]]:
    held = {int(v): int(n) for v, n in zip(*np.unique(labels, return_counts=True), strict=True)}
    draw, points = StratifiedDraw(held, wanted, seed), []
    for top in range(0, len(labels), rows):
        offset = top * labels.shape[1]
        block = labels[top : top + rows].ravel()
        points += [(offset + place, label) for place, label in draw.take(block)]
    return points


@given(st.integers(0, 10**6), st.integers(1, 13))
@settings(max_examples=40, deadline=None)
def test_points_do_not_depend_on_the_blocks_and_lie_in_their_class(seed, rows) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (13, 17))
    wanted = {0: 5, 2: int((labels == 2).sum())}
    points = drawn(labels, wanted, seed, rows)
    assert points == drawn(labels, wanted, seed, 13)
    assert len(set(points)) == len(points)
    assert all(labels.ravel()[place] == label for place, label in points)
    assert Counter(label for _, label in points) == Counter(wanted)


def test_every_sample_of_a_class_is_equally_likely() -> None:
    labels = (np.arange(40).reshape(4, 10) % 3 == 0).astype(int)  # 14 samples of class 1
    counts = Counter(place for seed in range(3000) for place, _ in drawn(labels, {1: 4}, seed, 1))
    assert set(counts) == set(np.flatnonzero(labels.ravel()))
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_another_seed_draws_other_points() -> None:
    labels = np.zeros((50, 50), int)
    assert drawn(labels, {0: 20}, 1, 50) != drawn(labels, {0: 20}, 2, 50)
