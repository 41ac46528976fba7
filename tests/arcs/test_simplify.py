"""Simplified arcs: what stays, a valid coverage always, the same however much is looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiledseg.arcs import Arcs, Faces, Thinning, _batches, simplify, trace_arcs
from tiledseg.arcs._cross import _between, _meet
from tiledseg.arcs._thin import by_area, by_distance
from tiledseg.components import find_components
from tiledseg.io import Ledger, MemorySource

SQUARE = (1.0, 0.0, 1.0)


def wavy(seed: int, size: int, classes: int, islands: float) -> np.ndarray:
    """Return smooth classes with islands of one sample."""
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.standard_normal((size, size + 3)), 1.5)
    limits = np.quantile(values, np.arange(1, classes) / classes)
    labels = np.digitize(values, limits).astype(np.uint8)
    labels[rng.random(labels.shape) < islands] = classes
    return labels


def traced(labels: np.ndarray, ledger: Ledger) -> tuple[Arcs, int]:
    """Return the arcs of the components of a map, and the number of components."""
    found = find_components(MemorySource(labels[np.newaxis]), ledger=ledger)
    count = len(found.table)
    values = np.arange(count, dtype=np.int32)
    lines = [*(box.start[0] for box in found.boxes), len(labels)]
    return trace_arcs(lambda band: found.framed(band, values), lines, ledger), count


def polygons(arcs: Arcs, count: int) -> np.ndarray:
    """Return the outline of every component."""
    some = Faces(arcs, count).outlines(np.arange(count))
    lists = (some.corners.astype(np.float64), (some.rings, some.shells))
    return np.array(shapely.from_ragged_array(shapely.GeometryType.POLYGON, *lists))


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 32),
    classes=st.integers(2, 5),
    islands=st.sampled_from([0.0, 0.03]),
    tolerance=st.sampled_from([0.5, 1.0, 3.0, 8.0]),
    by_area=st.booleans(),
)
def test_a_valid_coverage_however_much_is_looked_at(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    size: int,
    classes: int,
    islands: float,
    tolerance: float,
    by_area: bool,
) -> None:
    made = []
    thinning = Thinning(SQUARE, tolerance, by_area)
    with Ledger(tmp_path_factory.getbasetemp()) as ledger:
        arcs, count = traced(wavy(seed, size, classes, islands), ledger)
        before = polygons(arcs, count)
        for batch in (1 << 20, 200, 30):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(_batches, "_BATCH", batch)
                made.append(polygons(simplify(arcs, thinning), count))
    assert shapely.to_wkb(made[1]).tolist() == shapely.to_wkb(made[0]).tolist()
    assert shapely.to_wkb(made[2]).tolist() == shapely.to_wkb(made[0]).tolist()
    assert shapely.is_valid(made[0]).all()
    assert shapely.coverage_is_valid(made[0])
    holes = [shapely.get_num_interior_rings(each) for each in (before, made[0])]
    assert holes[0].tolist() == holes[1].tolist()


def test_islands_stay_where_they_belong(tmp_path: Path) -> None:
    """Without a look at who lies between a side and its detour, one in five such maps is wrong."""
    for seed in range(8):
        with Ledger(tmp_path) as ledger:
            arcs, count = traced(wavy(seed, 40, 2, 0.02), ledger)
            thin = simplify(arcs, Thinning(SQUARE, 6.0))
            made, whole = polygons(thin, count), polygons(arcs, count)
        assert shapely.is_valid(made).all()
        assert shapely.coverage_is_valid(made)
        theirs = shapely.coverage_simplify(whole, 6.0)
        corners = [shapely.get_num_coordinates(each).sum() for each in (made, theirs)]
        assert corners[0] < 1.1 * corners[1]  # as few as GEOS leaves, which sees all at once


def staircase(seed: int, steps: int) -> np.ndarray:
    """Return the corners of a line that never meets itself."""
    rng = np.random.default_rng(seed)
    moves = np.zeros((steps, 2), np.int32)
    moves[::2, 0] = rng.integers(1, 4, len(moves[::2]))
    moves[1::2, 1] = rng.integers(1, 4, len(moves[1::2])) * rng.choice([-1, 1], len(moves[1::2]))
    return np.cumsum(moves, axis=0, dtype=np.int32)


@pytest.mark.parametrize("seed", range(4))
def test_by_area_is_the_plain_rule(seed: int) -> None:
    line, least = staircase(seed, 60), 9.0
    left = list(range(len(line)))
    while len(left) > 2:
        near = zip(left, left[1:], left[2:], strict=False)
        areas = [
            abs(np.linalg.det(np.array([line[j] - line[i], line[k] - line[i]]))) for i, j, k in near
        ]
        if round(min(areas)) >= least:
            break
        del left[1 + int(np.argmin(np.round(areas)))]
    keep = np.empty(len(line), np.bool_)
    by_area(line, least, keep)
    assert np.flatnonzero(keep).tolist() == left


@pytest.mark.parametrize("seed", range(4))
def test_by_distance_is_that_of_geos(seed: int) -> None:
    """In a world where a column is 3 m and a row 0.5 m."""
    line = staircase(seed, 80)
    world = line * (3.0, 0.5)
    keep = np.empty(len(line), np.bool_)
    by_distance(line, (9.0, 0.0, 0.25), 2.1**2, keep)
    theirs = shapely.simplify(shapely.LineString(world), 2.1, preserve_topology=False)
    assert world[keep].tolist() == shapely.get_coordinates(theirs).tolist()
    assert keep.sum() < 70


def test_what_counts_as_meeting() -> None:
    def meet(*corners: int) -> bool:
        return bool(_meet(*np.array(corners, np.int32).reshape(4, 2)))

    assert meet(0, 0, 4, 4, 0, 4, 4, 0)  # cross
    assert meet(0, 0, 4, 0, 2, 0, 2, 5)  # an end on the other
    assert meet(0, 0, 4, 0, 4, 0, 0, 0)  # the same, backwards
    assert meet(0, 0, 4, 0, 0, 0, 6, 0)  # one along the other
    assert not meet(0, 0, 4, 0, 4, 0, 6, 0)  # one after the other
    assert not meet(0, 0, 4, 0, 0, 0, 0, 5)  # a common end
    assert not meet(0, 0, 4, 0, 5, 0, 9, 0)
    assert not meet(0, 0, 4, 0, 0, 1, 4, 1)


def test_what_lies_between_a_side_and_its_detour() -> None:
    detour = np.array([(0, 0), (0, 4), (4, 4), (4, 0)], np.int32)
    for corner, inside in (((2, 2), True), ((5, 2), False), ((0, 4), False), ((2, -1), False)):
        assert _between(detour, 0, 3, np.array(corner, np.int32), np.array([0, 0, 4, 4])) == inside
