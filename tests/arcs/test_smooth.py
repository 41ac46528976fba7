"""Smoothed arcs: within half a sample, a valid coverage without repair, straight along lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.arcs.test_simplify import polygons, traced, wavy
from tiledseg.arcs import Thinning, _batches, simplify, smooth
from tiledseg.io import Ledger


def both(labels: np.ndarray, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the outlines of components as they are, and smoothed, in samples."""
    with Ledger(folder) as ledger:
        arcs, count = traced(labels, ledger)
        halves = polygons(smooth(arcs), count)
        return polygons(arcs, count), shapely.transform(halves, lambda corners: corners / 2)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 32),
    classes=st.integers(2, 5),
    islands=st.sampled_from([0.0, 0.03, 0.5]),
    batch=st.sampled_from([1, 50, 500]),
)
def test_a_valid_coverage_within_half_a_sample(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    size: int,
    classes: int,
    islands: float,
    batch: int,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    labels = wavy(seed, size, classes, islands)
    before, after = both(labels, folder)
    assert shapely.is_valid(after).all()
    assert shapely.coverage_is_valid(after)
    assert shapely.hausdorff_distance(before, after).max() < 0.5
    assert shapely.area(after).sum() == labels.size  # what one loses is the other's
    holes = [shapely.get_num_interior_rings(each) for each in (before, after)]
    assert holes[0].tolist() == holes[1].tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_batches, "_BATCH", batch)
        assert shapely.to_wkb(both(labels, folder)[1]).tolist() == shapely.to_wkb(after).tolist()


def test_simplified_after_it(tmp_path: Path) -> None:
    """Fewer corners stay for the same tolerance, and the coverage is valid."""
    labels = wavy(3, 60, 4, 0.01)
    with Ledger(tmp_path) as ledger:
        arcs, count = traced(labels, ledger)
        left = []
        for some, side in ((arcs, 1.0), (smooth(arcs), 0.25)):
            made = polygons(simplify(some, Thinning((side, 0.0, side), 0.5, False)), count)
            assert shapely.is_valid(made).all()
            assert shapely.coverage_is_valid(made)
            left.append(shapely.get_num_coordinates(made).sum())
    assert left[1] < 0.92 * left[0]


@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (7, 1), (1, 4)])
def test_a_line_of_equal_steps_is_that_line(tmp_path: Path, across: int, down: int) -> None:
    y, x = np.indices((30, 40))
    below = (y // down - x // across) >= 2
    _, (upper, lower) = both(below.astype(np.uint8), tmp_path)
    line = shapely.segmentize(shapely.intersection(upper, lower), 0.25)
    x, y = shapely.get_coordinates(line).T
    away = (np.minimum(x, 40 - x) > 2 * across) & (np.minimum(y, 30 - y) > 2 * down)
    assert away.sum() > 20
    apart = x[away] * down - y[away] * across
    np.testing.assert_allclose(apart, apart[0], atol=1e-9)


def test_a_disc_is_round(tmp_path: Path) -> None:
    """The outline of samples is 4 / pi as long as the circle, whatever their size."""
    y, x = np.indices((101, 101)) - 50
    before, after = both((x**2 + y**2 <= 40.3**2).astype(np.uint8), tmp_path)
    disc, true = int(shapely.area(before).argmin()), 2 * np.pi * 40.3
    assert shapely.length(before)[disc] > 1.25 * true
    assert shapely.length(after)[disc] == pytest.approx(true, rel=0.01)
    assert shapely.area(after)[disc] == pytest.approx(np.pi * 40.3**2, rel=0.005)


def test_what_has_no_steps_stays(tmp_path: Path) -> None:
    labels = np.zeros((20, 24), np.uint8)
    labels[2:5, 3:18] = 1
    labels[7, 7] = 2
    labels[10:18, 2:20] = 3
    labels[13, 5] = 0  # a hole
    labels[10:12, 9] = 0  # a notch, and what sticks out, of two samples
    labels[14:16, 20:22] = 3
    before, after = both(labels, tmp_path)
    assert shapely.to_wkb(shapely.normalize(before)).tolist() == (
        shapely.to_wkb(shapely.normalize(after)).tolist()
    )


def test_a_step_in_a_long_wall_is_cut_near_it(tmp_path: Path) -> None:
    labels = np.zeros((10, 40), np.uint8)
    labels[5:, :20], labels[6:, 20:] = 1, 1
    _, (upper, _) = both(labels, tmp_path)
    # 0 to 20 at line 5, 20 to 40 at line 6: cut on both sides of it, ten samples at the most
    cut = shapely.LineString([(0, 5), (10, 5), (20, 5.5), (30, 6), (40, 6)])
    assert shapely.distance(cut, shapely.boundary(upper)) == 0
    labels[:, 23:] = 0
    labels[6:, 20:23] = 1
    _, (upper, _) = both(labels, tmp_path)
    corners = shapely.get_coordinates(upper).tolist()
    assert [18.0, 5.0] in corners  # the other side is 3 long: 4 halves
    assert [21.5, 6.0] in corners
    assert [10.0, 5.0] not in corners


def test_rings_have_no_first_corner(tmp_path: Path) -> None:
    """A ring whose first corner is that of a step is cut there as everywhere."""
    labels = np.zeros((5, 6), np.uint8)
    labels[1, 2:4] = labels[2, 1:3] = labels[3, 2:5] = 1
    for turned in (labels, labels[::-1], labels[:, ::-1], labels.T):
        before, after = both(turned, tmp_path)
        assert shapely.hausdorff_distance(before, after).max() < 0.5
        assert shapely.area(after).min() == 6.5
