"""What steps make of a map is what they say, told on the samples; and blocks do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiledseg.components import (
    NODATA,
    ComponentStep,
    Graph,
    MapFacts,
    applied,
    check_classes,
    check_steps,
    find_components,
)
from tiledseg.errors import ConfigError
from tiledseg.io import MemorySource
from tiledseg.labels import ClassSchema
from tiledseg.steps import FillHoles, KeepLargest, RemoveSmall

RANKS = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}
FACTS = MapFacts(ClassSchema.of_names(["rest", "a", "b", "c"], background=0), "samples", "map")
Case = tuple[np.ndarray, int, tuple[int, ...]]


def made(
    labels: np.ndarray,
    connectivity: int,
    block: tuple[int, ...] | None,
    *steps: ComponentStep,
) -> np.ndarray:
    """Return the map after some steps; -1 is nodata."""
    source = MemorySource(labels[None].astype(np.int16), nodata=-1)
    check_steps(steps, source.grid, "samples", "map")
    check_classes(steps, FACTS)
    found = find_components(source, connectivity, block=block, borders=True)
    graph = Graph.of(found)
    for step in steps:
        graph = applied(step, graph, FACTS)
    after = np.empty(labels.shape, np.int64)
    for box, values in found.rewritten(graph.labels().astype(np.int64), NODATA):
        after[box.slices] = values
    _check_graph(graph, after, connectivity)
    return after


def _check_graph(graph: Graph, after: np.ndarray, connectivity: int) -> None:
    """What the graph says of the new map is what is found in the new map."""
    source = MemorySource(after[None].astype(np.int16), nodata=-1)
    again = find_components(source, connectivity, borders=True)
    for name in ("labels", "keys", "sizes", "open", "low", "high", "moments"):
        np.testing.assert_array_equal(getattr(graph.table, name), getattr(again.table, name))
    for name in ("one", "other", "sides"):
        np.testing.assert_array_equal(getattr(graph.borders, name), getattr(again.borders, name))


def parts(labels: np.ndarray, connectivity: int) -> list[tuple[int, np.ndarray]]:
    """Return label and mask of every component by first samples."""
    near = ndimage.generate_binary_structure(labels.ndim, RANKS[connectivity])
    found = []
    for value in np.unique(labels[labels >= 0]):
        ids, count = ndimage.label(labels == value, near)
        found += [(int(value), ids == i) for i in range(1, count + 1)]
    return sorted(found, key=lambda part: int(np.flatnonzero(part[1])[0]))


@st.composite
def maps(draw: st.DrawFn) -> Case:
    ndim = draw(st.integers(2, 3))
    most = 9 if ndim == 2 else 5
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(rng.integers(1, most + 1, ndim).tolist())  # drawn one by one, most are thin
    labels = rng.integers(0, rng.integers(2, 5), shape)
    labels[rng.random(shape) < draw(st.sampled_from((0.0, 0.0, 0.15)))] = -1
    if draw(st.booleans()):
        labels[rng.random(shape) < 0.6] = 0
    connectivity = draw(st.sampled_from((4, 8) if ndim == 2 else (6, 18, 26)))
    return labels, connectivity, tuple(int(rng.integers(1, n + 1)) for n in shape)


def sides_shared(one: np.ndarray, other: np.ndarray) -> int:
    """Return the sides of samples that two masks share."""
    count = 0
    for axis in range(one.ndim):
        a, b = np.moveaxis(one, axis, 0), np.moveaxis(other, axis, 0)
        count += int((a[1:] & b[:-1]).sum() + (a[:-1] & b[1:]).sum())
    return count


def sieved(labels: np.ndarray, connectivity: int, least: int) -> np.ndarray:
    """Merge one component at a time, and look for all of them anew each time."""
    labels = labels.copy()
    while True:
        found = parts(labels, connectivity)
        small = [(int(m.sum()), i) for i, (_, m) in enumerate(found) if m.sum() < least]
        for _, i in sorted(small):
            shared = [
                (sides_shared(found[i][1], m), -j) for j, (_, m) in enumerate(found) if j != i
            ]
            sides, best = max(shared, default=(0, 0))
            if sides:
                labels[found[i][1]] = found[-best][0]
                break
        else:
            return labels


@settings(max_examples=100, deadline=None)
@given(maps(), st.integers(1, 12))
def test_small_ones_are_merged_as_the_rule_says(case: Case, least: int) -> None:
    labels, connectivity, block = case
    step = RemoveSmall(least, becomes="neighbour")
    after = made(labels, connectivity, block, step)
    np.testing.assert_array_equal(after, sieved(labels, connectivity, least))


@pytest.mark.parametrize("connectivity", [4, 8])
def test_small_ones_grow_many_times(connectivity: int) -> None:
    """Groups of many members that are small still."""
    labels = np.random.default_rng(connectivity).integers(0, 4, (13, 13))
    after = made(labels, connectivity, (5, 4), RemoveSmall(40, becomes="neighbour"))
    np.testing.assert_array_equal(after, sieved(labels, connectivity, 40))


@settings(max_examples=100, deadline=None)
@given(maps(), st.integers(1, 6), st.sampled_from(("background", "nodata")))
def test_small_ones_are_removed(case: Case, least: int, becomes: str) -> None:
    labels, connectivity, block = case
    expected = labels.copy()
    for label, mask in parts(labels, connectivity):
        if label and mask.sum() < least:
            expected[mask] = 0 if becomes == "background" else -1
    step = RemoveSmall(least, "samples", becomes)
    np.testing.assert_array_equal(made(labels, connectivity, block, step), expected)


@settings(max_examples=100, deadline=None)
@given(maps(), st.sampled_from(((), ("a",), ("b", 1))))
def test_the_largest_is_kept(case: Case, classes: tuple[str | int, ...]) -> None:
    labels, connectivity, block = case
    wanted = {"a": 1, "b": 2, 1: 1}
    ids = {wanted[c] for c in classes} or {1, 2, 3}
    expected, found = labels.copy(), parts(labels, connectivity)
    for i in ids:
        own = [mask for label, mask in found if label == i]
        for mask in own:
            expected[mask] = 0
        if own:
            expected[max(own, key=lambda mask: mask.sum())] = i  # the first of equal ones
    step = KeepLargest(classes)
    np.testing.assert_array_equal(made(labels, connectivity, block, step), expected)


@settings(max_examples=50, deadline=None)
@given(maps(), st.sampled_from(((), ("a", "c"), ("b",))))
def test_the_largest_of_several_together_is_kept(
    case: Case, classes: tuple[str | int, ...]
) -> None:
    labels, connectivity, block = case
    ids = [1 + "abc".index(str(c)) for c in classes] or [1, 2, 3]
    expected, mask = labels.copy(), np.isin(labels, ids)
    near = ndimage.generate_binary_structure(labels.ndim, RANKS[connectivity])
    groups, count = ndimage.label(mask, near)  # numbered by their first samples
    if count:
        largest = 1 + np.bincount(groups.ravel())[1:].argmax()
        expected[mask & (groups != largest)] = 0
    step = KeepLargest(classes, together=True)
    np.testing.assert_array_equal(made(labels, connectivity, block, step), expected)


@settings(max_examples=100, deadline=None)
@given(maps())
def test_holes_are_filled(case: Case) -> None:
    labels, connectivity, block = case
    near = ndimage.generate_binary_structure(labels.ndim, RANKS[connectivity])
    outside = np.pad(labels, 1, constant_values=-1)
    expected = labels.copy()
    for label, mask in parts(labels, connectivity):
        rim = ndimage.binary_dilation(np.pad(mask, 1), near) & ~np.pad(mask, 1)
        around = set(outside[rim].tolist())
        if label == 0 and len(around) == 1 and -1 not in around:
            expected[mask] = around.pop()
    np.testing.assert_array_equal(made(labels, connectivity, block, FillHoles()), expected)


def test_what_becomes_nodata_opens_its_neighbours() -> None:
    """Background beside a removed object is no hole any more."""
    labels = np.full((7, 7), 1)
    labels[3, 3], labels[3, 4], labels[1, 1] = 2, 0, 0
    steps = (RemoveSmall(2, becomes="nodata", classes=("b",)), FillHoles())
    expected = labels.copy()
    expected[3, 3], expected[1, 1] = NODATA, 1
    np.testing.assert_array_equal(made(labels, 4, None, *steps), expected)


def test_holes_of_one_class_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    labels = ndimage.gaussian_filter(rng.standard_normal((200, 200)), 1.5) > 0
    filled = made(labels.astype(int), 4, (64, 50), FillHoles())
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(labels))
    assert filled.sum() > labels.sum()


@settings(max_examples=100, deadline=None)
@given(maps())
def test_steps_follow_one_another(case: Case) -> None:
    """Each sees the map that the one before would have written."""
    labels, connectivity, block = case
    steps = (KeepLargest(("a",)), RemoveSmall(3), FillHoles(), RemoveSmall(4, becomes="neighbour"))
    one_by_one = labels
    for step in steps:
        one_by_one = made(one_by_one, connectivity, None, step)
    np.testing.assert_array_equal(made(labels, connectivity, block, *steps), one_by_one)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: KeepLargest(("liver",)), "map has no class 'liver'; it has rest, a, b, c"),
        (lambda: KeepLargest("a"), "classes are a tuple of names and ids, found 'a'"),
        (lambda: RemoveSmall(4, "m2"), "map has no sizes in m2, its sizes are in samples"),
        (lambda: RemoveSmall(0), "least size 0 is no number above 0"),
        (lambda: RemoveSmall(4, "acres"), "unit 'acres' is none of samples, m2, mm3"),
        (lambda: RemoveSmall(4, becomes="blue"), "'blue' is none of background, nodata, neighbour"),
        (lambda: RemoveSmall(4, becomes="neighbour", classes=("a",)), "name no classes"),
        (lambda: KeepLargest(becomes="neighbour"), "'neighbour' is none of background, nodata"),
    ],
)
def test_wrong_steps_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        made(np.ones((3, 3), int), 4, None, make())


def test_without_background_nothing_becomes_background() -> None:
    facts = MapFacts(ClassSchema.of_names(["x", "a"]), "samples", "m.tif")
    with pytest.raises(ConfigError, match=r"m\.tif has no background that removed objects could"):
        check_classes([RemoveSmall(20)], facts)
