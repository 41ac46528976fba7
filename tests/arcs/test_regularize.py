"""Outlines with right angles: what they are for, and that nothing else suffers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from shapely import affinity

from tests.arcs.test_simplify import polygons, traced, wavy
from tiledseg.arcs import FINE, LEAST, _batches, regularize, smooth
from tiledseg.components import find_components
from tiledseg.io import Ledger, MemorySource


def houses(size: int, many: int) -> list[shapely.Polygon]:
    """Return rectangles, some without a corner, turned by any angle, apart from one another."""
    rng, made = np.random.default_rng(5), []
    for number in range(many):
        (x, y), (wide, high) = rng.uniform(20, size - 20, 2), rng.uniform(8, 30, 2)
        house = shapely.box(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
        if number % 3 == 0:
            house = house.difference(shapely.box(x, y, x + wide, y + high))
        house = affinity.rotate(house, rng.uniform(0, 180), origin=(x, y))
        if all(house.distance(other) > 2 for other in made):
            made.append(house)
    return made


def both(
    labels: np.ndarray, classes: list[int], folder: Path, smoothed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return outlines as they were and with right angles, in samples, and which were chosen."""
    with Ledger(folder) as ledger:
        arcs, count = traced(labels, ledger)
        table = find_components(MemorySource(labels[np.newaxis])).table
        chosen = np.isin(table.labels, classes)
        parts = 2 if smoothed else 1
        given_arcs = smooth(arcs) if smoothed else arcs
        before = polygons(given_arcs, count)
        metrics = np.tile([1.0, 0.0, 1.0], (len(labels) + 1, 1))
        after = polygons(regularize(given_arcs, parts, chosen, metrics, labels.shape[1]), count)
    before = shapely.transform(before, lambda corners: corners / parts)
    return before, shapely.transform(after, lambda corners: corners / FINE), chosen


def likeness(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the intersections over unions of shapes."""
    union = shapely.area(shapely.union(one, other))
    return np.asarray(shapely.area(shapely.intersection(one, other)) / union)


@pytest.mark.parametrize("smoothed", [False, True])
def test_houses_are_nearer_to_the_truth(tmp_path: Path, smoothed: bool) -> None:
    truth = houses(300, 60)
    labels = rasterize([(house, 1) for house in truth], out_shape=(300, 300)).astype(np.uint8)
    before, after, chosen = both(labels, [1], tmp_path, smoothed)
    assert shapely.is_valid(after).all()
    assert shapely.coverage_is_valid(after)
    right = []
    for old, new in zip(before[chosen], after[chosen], strict=True):
        if shapely.equals(old, new):
            continue
        sides = np.diff(shapely.get_coordinates(new), axis=0)
        turns = np.arctan2(sides[:, 1], sides[:, 0]) * 4
        assert np.degrees(np.abs(np.angle(np.exp(1j * (turns - turns[0]))))).max() / 4 < 0.4
        true = truth[int(np.argmax(shapely.area(shapely.intersection(truth, new))))]
        shapes = np.array([old, new])
        right.append([*likeness(shapes, np.array([true, true])), len(sides)])
    was, now, corners = np.array(right).T
    assert len(was) > 0.9 * chosen.sum() > 15
    assert now.mean() > was.mean() + 0.005
    assert set(corners.tolist()) <= {4, 6, 8}
    assert (corners < 8).mean() > 0.9


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(4, 40),
    classes=st.integers(2, 4),
    islands=st.sampled_from([0.0, 0.03]),
    smoothed=st.booleans(),
    batch=st.sampled_from([30, 300]),
)
@example(seed=2, size=38, classes=2, islands=0.03, smoothed=False, batch=30)  # corners touch
def test_a_valid_coverage_like_what_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    size: int,
    classes: int,
    islands: float,
    smoothed: bool,
    batch: int,
) -> None:
    """Of maps that have no right angles at all, so that all kinds of conflicts occur."""
    folder = tmp_path_factory.getbasetemp()
    labels = wavy(seed, size, classes, islands)
    wanted = [1, 2]
    before, after, chosen = both(labels, wanted, folder, smoothed)
    assert shapely.is_valid(after).all()
    assert shapely.coverage_is_valid(after)
    assert shapely.area(after).sum() == pytest.approx(labels.size)
    assert likeness(before, after)[chosen].min(initial=1) > LEAST - 1e-9
    holes = [shapely.get_num_interior_rings(each) for each in (before, after)]
    assert holes[0].tolist() == holes[1].tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_batches, "_BATCH", batch)
        again = both(labels, wanted, folder, smoothed)[1]
    assert shapely.to_wkb(again).tolist() == shapely.to_wkb(after).tolist()


def test_houses_in_a_row_share_their_walls(tmp_path: Path) -> None:
    row = [affinity.rotate(shapely.box(x, 30, x + 14, 50), 20, (50, 40)) for x in (29, 43, 57)]
    labels = rasterize(
        [(house, label) for label, house in enumerate(row, 1)], out_shape=(80, 100)
    ).astype(np.uint8)
    before, after, chosen = both(labels, [1, 2, 3], tmp_path, True)
    assert shapely.coverage_is_valid(after)
    assert not shapely.equals(before, after)[chosen].any()
    shared = shapely.length(shapely.intersection(after[chosen][:-1], after[chosen][1:]))
    assert (shared > 18).all()
    assert shapely.get_num_coordinates(after[chosen]).max() <= 9


def test_an_island_keeps_its_side(tmp_path: Path) -> None:
    """A wall across a bay would leave the island in it on the other side, so none is made then."""
    for island in (False, True):
        labels = np.zeros((60, 60), np.uint8)
        labels[10:50, 10:50] = 1
        for row, low in zip(range(10, 14), (14, 18, 23, 27), strict=True):
            labels[row, low : 60 - low] = 0  # the bay
        labels[12, 29:31] = 2 if island else 0  # below the wall, that is at line 12
        before, after, chosen = both(labels, [1], tmp_path, False)
        assert shapely.coverage_is_valid(after)
        assert shapely.is_valid(after).all()
        assert shapely.equals(before, after)[chosen].all() == island


def test_what_lies_along_the_edge_of_the_map_stays_there(tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[0, :12] = labels[1:10, 2:12] = 1  # one sample of it on the left edge
    before, after, chosen = both(labels, [1], tmp_path, False)
    assert not shapely.equals(before, after)[chosen].all()
    assert shapely.bounds(after[chosen][0]).tolist()[:2] == [0, 0]
    assert shapely.area(after).sum() == pytest.approx(labels.size)
