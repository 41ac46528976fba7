"""Boxes are sets of samples: every answer is checked against marked arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiledseg.box import Box

SIDE = 12  # boxes lie in [-SIDE, SIDE) on every axis
OFFSETS = st.tuples(*[st.integers(-50, 50)] * 3)


@st.composite
def loose_boxes(draw: st.DrawFn, dims: int = 3) -> Box:
    """Draw a box anywhere, empty ones included."""
    pairs = [sorted(draw(st.tuples(*[st.integers(-SIDE, SIDE)] * 2))) for _ in range(dims)]
    return Box(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def marked(box: Box) -> np.ndarray:
    cells = np.zeros((2 * SIDE,) * len(box.start), bool)
    cells[box.shift((SIDE,) * len(box.start)).slices] = True
    return cells


@given(loose_boxes())
def test_size_is_the_number_of_samples(box: Box) -> None:
    assert box.size == marked(box).sum() == np.prod(box.shape)


@given(loose_boxes(), loose_boxes())
def test_intersection_is_that_of_sets(a: Box, b: Box) -> None:
    np.testing.assert_array_equal(marked(a.intersect(b)), marked(a) & marked(b))
    assert a.intersect(b) == b.intersect(a)
    assert a.intersect(a) == a


@given(loose_boxes(), loose_boxes(), loose_boxes())
def test_order_of_intersections_does_not_matter(a: Box, b: Box, c: Box) -> None:
    one, other = a.intersect(b).intersect(c), a.intersect(b.intersect(c))
    np.testing.assert_array_equal(marked(one), marked(other))


@given(loose_boxes(), loose_boxes())
def test_containing_is_that_of_sets(a: Box, b: Box) -> None:
    assert a.contains(b) == (not (marked(b) & ~marked(a)).any())


@given(loose_boxes(), OFFSETS, OFFSETS)
def test_shifts_add_up_and_lead_back(box: Box, one: tuple[int, ...], two: tuple[int, ...]) -> None:
    both = tuple(a + b for a, b in zip(one, two, strict=True))
    assert box.shift(one).shift(two) == box.shift(both)
    assert box.shift(one).shift(tuple(-o for o in one)) == box
    assert box.shift(one).shape == box.shape


@given(loose_boxes(), loose_boxes())
def test_relative_to_is_undone_by_the_other_start(box: Box, other: Box) -> None:
    assert box.relative_to(other).shift(other.start) == box
    assert box.relative_to(box) == Box.of_shape(box.shape)


@given(loose_boxes())
def test_shape_and_start_say_everything(box: Box) -> None:
    assert Box.of_shape(box.shape, box.start) == box
    assert hash(Box(box.start, box.stop)) == hash(box)


@given(loose_boxes(), st.integers(0, 2), st.integers(-SIDE, 0), st.integers(0, SIDE))
def test_along_changes_one_axis(box: Box, axis: int, start: int, stop: int) -> None:
    changed = box.along(axis, start, stop)
    assert (changed.start[axis], changed.stop[axis]) == (start, stop)
    assert changed.along(axis, box.start[axis], box.stop[axis]) == box


def test_a_box_is_never_inside_out() -> None:
    with pytest.raises(ValueError, match="lies before its start"):
        Box((0, 5), (3, 4))
    with pytest.raises(ValueError, match="differ in length"):
        Box((0, 5), (3,))
