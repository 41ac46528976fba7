"""Areas from a stratified sample: the worked examples of the papers.

Olofsson et al. 2014 (doi 10.1016/j.rse.2014.02.015), table 8 and section 5.2: sample counts, map
areas in 30 m pixels (0.09 ha), and what is printed in the paper; with more digits, as the tests of
agcopenhaver/PyMapAccuracy have them. Two printed half widths of producer's accuracies, 0.23 (forest
gain) and 0.01 (stable non-forest), contradict the paper's own equation (7), which gives 0.254 and
0.018, as those tests and those of NewGraphEnvironment/drift say.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiledseg.errors import ConfigError
from tiledseg.metrics import Z, estimate_areas, interval

NAMES = ["deforestation", "forest gain", "stable forest", "stable non-forest"]
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
#: The other packages take 1.959964 where the paper, and this one, take 1.96.
EXACT = 1.959963984540054


def test_the_printed_results_of_the_2014_paper() -> None:
    found = estimate_areas(COUNTS, PIXELS * 0.09, NAMES)
    area, error = found.areas
    assert area.round().tolist() == [21158, 11686, 285770, 581386]
    np.testing.assert_allclose(Z * error, [6158, 3756, 15510, 16282], atol=0.6)
    assert found.overall[0] == pytest.approx(0.947, abs=5e-4)
    assert Z * found.overall[1] == pytest.approx(0.018, abs=5e-4)
    np.testing.assert_allclose(found.users[0], [0.88, 0.73, 0.93, 0.96], atol=5e-3)
    np.testing.assert_allclose(Z * found.users[1], [0.07, 0.10, 0.04, 0.02], atol=5e-3)
    np.testing.assert_allclose(found.producers[0], [0.75, 0.85, 0.93, 0.96], atol=5e-3)
    table_9 = [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    np.testing.assert_allclose(found.proportions, table_9, atol=5.1e-5)
    in_pixels = estimate_areas(COUNTS, PIXELS, NAMES).areas
    assert in_pixels[0, 0] == pytest.approx(235_086, abs=1)
    assert Z * in_pixels[1, 0] == pytest.approx(68_418, abs=1)


def test_more_digits_of_the_same_example_from_other_packages() -> None:
    found = estimate_areas(COUNTS, PIXELS * 0.09, NAMES)
    assert found.overall == pytest.approx((0.946511889, 0.01848328 / EXACT), rel=1e-6)
    users = [0.88, 55 / 75, 153 / 165, 313 / 325]
    np.testing.assert_allclose(found.users[0], users, rtol=1e-9)
    half = [0.07403962, 0.10075516, 0.03974464, 0.02053312]
    np.testing.assert_allclose(EXACT * found.users[1], half, rtol=1e-6)
    producers = [0.7486614, 0.8471564, 0.9345089, 0.9616090]
    np.testing.assert_allclose(found.producers[0], producers, rtol=1e-6)
    half = [0.21330593, 0.25440369, 0.03432379, 0.01836120]
    np.testing.assert_allclose(EXACT * found.producers[1], half, rtol=1e-6)
    area = [21157.76, 11686.15, 285769.9, 581386.2]
    np.testing.assert_allclose(found.areas[0], area, rtol=1e-6)
    half = [6157.521, 3755.757, 15509.55, 16281.36]
    np.testing.assert_allclose(EXACT * found.areas[1], half, rtol=1e-6)


def test_the_example_of_the_2013_paper() -> None:
    """Olofsson et al. 2013 (doi 10.1016/j.rse.2012.10.031), example 1, from PyMapAccuracy."""
    counts = [[97, 0, 3], [3, 279, 18], [2, 1, 97]]
    found = estimate_areas(counts, [22353, 1122543, 610228], ["1", "2", "3"])
    assert found.areas[0, 0] == pytest.approx(45112.4, abs=0.1)
    assert found.areas[1, 0] == pytest.approx(10751.88, abs=1)  # as closely as there
    np.testing.assert_allclose(found.producers[0], [0.4806308, 0.9941887, 0.8969259], rtol=1e-6)
    half = [0.22453045, 0.01132522, 0.04120541]
    np.testing.assert_allclose(EXACT * found.producers[1], half, rtol=1e-6)
    assert found.overall[0] == pytest.approx(0.9444168, rel=1e-6)


@given(st.lists(st.integers(0, 40), min_size=9, max_size=9), st.integers(1, 10**6))
@settings(max_examples=60, deadline=None)
def test_areas_sum_to_the_map_and_shares_lie_in_0_to_1(numbers, area) -> None:
    counts = np.reshape(numbers, (3, 3)) + 2 * np.eye(3, dtype=int)
    found = estimate_areas(counts, [area, 500, 70_000], ["a", "b", "c"])
    assert found.areas[0].sum() == pytest.approx(area + 70_500)
    assert found.proportions.sum() == pytest.approx(1)
    for shares in (found.users[0], found.producers[0], np.array([found.overall[0]])):
        assert ((shares >= 0) & (shares <= 1 + 1e-12)).all()
    assert (found.areas[1] >= 0).all()


def test_a_class_of_the_truth_only_has_an_area_and_no_users_accuracy() -> None:
    counts = [[8, 1, 1], [0, 9, 1], [0, 0, 0]]
    found = estimate_areas(counts, [100, 300, 0], ["a", "b", "water"])
    assert np.isnan(found.users[:, 2]).all()
    assert found.producers[0, 2] == 0
    assert found.areas[0, 2] == pytest.approx(100 / 10 + 300 / 10)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(40_000) < 0.3
    found = np.where(rng.random(40_000) < 0.9, truth, ~truth)
    held = [np.flatnonzero(~found), np.flatnonzero(found)]
    covered = 0
    for _ in range(300):
        counts = np.zeros((2, 2))
        for i, places in enumerate(held):
            counts[i] = np.bincount(truth[rng.choice(places, 150, replace=False)], minlength=2)
        areas = estimate_areas(counts, [len(p) for p in held], ["no", "yes"]).areas
        low, high = interval(areas[0, 1], areas[1, 1])
        covered += low <= truth.sum() <= high
    assert 0.91 <= covered / 300 <= 0.99


def test_a_class_without_enough_points_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"at least 2 points .* 'b' \(has 1\)"):
        estimate_areas([[3, 1], [0, 1]], [10, 20], ["a", "b"])
