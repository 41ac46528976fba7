"""Arcs and outlines: exact, valid, and the same whatever bands a map is read in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize, shapes

from tiledseg.arcs import Arcs, Faces, trace_arcs
from tiledseg.components import find_components
from tiledseg.io import Ledger, MemorySource

CHECKERS = np.indices((6, 7)).sum(axis=0).astype(np.uint8) % 2
#: One component around a corner that it comes to from two sides, and a hole that touches its shell.
AROUND = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]], np.uint8)
MAPS = arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.integers(0, 2),
)


def components(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the 4-connected component of every sample, and their number."""
    found = find_components(MemorySource(labels[np.newaxis]))
    count = len(found.table)
    ids = np.empty(labels.shape, np.int64)
    for box, values in found.rewritten(np.arange(count), -1):
        ids[box.slices] = values
    return ids, count


def trace(ids: np.ndarray, rows: int, ledger: Ledger) -> Arcs:
    """Trace a map in bands of some rows."""
    whole = np.pad(ids, 1, constant_values=-1).astype(np.int32)
    lines = [*range(0, len(ids), rows), len(ids)]
    ends = [*lines[1:], len(ids) + 1]
    return trace_arcs(lambda band: whole[lines[band] : ends[band] + 1].copy(), lines, ledger)


def outlines(arcs: Arcs, count: int) -> list[shapely.Polygon]:
    """Return the outline of every component in coordinates of the map."""
    some = Faces(arcs, count).outlines(np.arange(count))
    lists = (some.corners.astype(np.float64), (some.rings, some.shells))
    made: list[shapely.Polygon] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, *lists
    ).tolist()
    return made


def described(arcs: Arcs) -> list[tuple[object, ...]]:
    """Return what is known of every arc, in an order of its own."""
    there = np.flatnonzero((arcs.rows[:, 1:3] >= 0).any(axis=1))
    parts = np.split(arcs.corners(there), np.cumsum(arcs.rows[there, 0])[:-1])
    sides = arcs.rows[there, 1:3].tolist()
    return sorted((p.tolist(), *s) for p, s in zip(parts, sides, strict=True))


@settings(deadline=None, max_examples=25)
@given(labels=MAPS)
@example(labels=CHECKERS)
@example(labels=AROUND)
@example(labels=AROUND.T.copy())
def test_exact_valid_and_the_same_for_all_bands(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray
) -> None:
    ids, count = components(labels)
    with Ledger(tmp_path_factory.getbasetemp()) as ledger:
        whole = trace(ids, len(ids), ledger)
        polygons, known = outlines(whole, count), described(whole)
        for rows in (1, 2, 3, 5):
            cut = trace(ids, rows, ledger)
            assert described(cut) == known
            assert (
                shapely.to_wkb(outlines(cut, count)).tolist() == shapely.to_wkb(polygons).tolist()
            )
    assert shapely.is_valid(polygons).all()
    assert not shapely.is_ccw(shapely.get_exterior_ring(polygons)).any()  # rows run downwards
    assert shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).tolist() == np.bincount(ids.ravel()).tolist()
    burnt = rasterize(zip(polygons, range(count), strict=True), labels.shape, dtype=np.int32)
    np.testing.assert_array_equal(burnt, ids)


@settings(deadline=None, max_examples=15)
@given(labels=MAPS)
@example(labels=CHECKERS)
def test_polygons_are_those_of_gdal(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray
) -> None:
    """But for the nodes on straight lines, which neighbours must share to have no gaps."""
    ids, count = components(labels)
    with Ledger(tmp_path_factory.getbasetemp()) as ledger:
        mine = outlines(trace(ids, 3, ledger), count)
    theirs = [shapely.geometry.shape(s) for s, _ in shapes(labels, connectivity=4)]
    assert sorted(map(rings, mine)) == sorted(map(rings, theirs))


def rings(polygon: shapely.Polygon) -> list[str]:
    """Return the rings of a polygon without corners on straight lines, wherever they start."""
    found = []
    for ring in (polygon.exterior, *polygon.interiors):
        points = shapely.get_coordinates(ring)[:-1]
        before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
        turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
        found.append(shapely.normalize(shapely.LinearRing(points[turns])).wkt)
    return [found[0], *sorted(found[1:])]


def test_what_is_none_has_no_arcs(tmp_path: Path) -> None:
    ids = np.full((4, 5), -1)
    with Ledger(tmp_path) as ledger:
        assert len(trace(ids, 2, ledger)) == 0
        ids[1:3, 1:4] = 0
        (ring,) = described(trace(ids, 2, ledger))
    assert ring == ([[1, 1], [4, 1], [4, 3], [1, 3], [1, 1]], -1, 0)
    assert list(tmp_path.iterdir()) == []
