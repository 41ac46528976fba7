"""Maps between grids, and what samples are made of: laws, and other libraries as oracles."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tiledseg.box import Box
from tiledseg.errors import GridMismatch
from tiledseg.grid import PATIENT, Grid
from tiledseg.resampling import Method, Scaling, Target

METHODS = get_args(Method)
LENGTHS = st.integers(1, 60)


@given(LENGTHS, LENGTHS, st.sampled_from(METHODS))
def test_weights_sum_to_one_and_stay_inside(to: int, of: int, method: Method) -> None:
    taps = Scaling.centred((to,), (of,)).taps(method, 0, to, 0, of)
    total = 6 if method != "cubic" else 1  # a spline's coefficients bring the other factor
    assert_allclose(taps.weight.sum(axis=1) * total, 6, rtol=1e-12)
    if method != "cubic":
        assert (taps.weight >= 0).all()
        assert taps.index.min() >= 0
        assert taps.index.max() < to


@given(LENGTHS, LENGTHS, st.sampled_from(METHODS), st.data())
def test_taps_do_not_depend_on_the_stretch(
    to: int, of: int, method: Method, data: st.DataObject
) -> None:
    scaling = Scaling.centred((to,), (of,))
    whole = scaling.taps(method, 0, to, 0, of)
    start = data.draw(st.integers(0, of - 1))
    stop = data.draw(st.integers(start + 1, of))
    part = scaling.taps(method, 0, to, start, stop)
    assert_array_equal(part.index, whole.index[start:stop])
    assert_array_equal(part.weight, whole.weight[start:stop])


@given(LENGTHS, LENGTHS)
def test_area_keeps_the_sum(to: int, of: int) -> None:
    """What all samples together hold is what the image holds."""
    taps = Scaling.centred((to,), (of,)).taps("area", 0, to, 0, of)
    shares = np.zeros(to)
    np.add.at(shares, taps.index.ravel(), taps.weight.ravel())
    assert_allclose(shares, of / to, rtol=1e-9)


def test_the_two_conventions() -> None:
    """Corners together as scikit-image; first centres together as MONAI."""
    corners = Scaling.centred((10,), (4,))
    assert_allclose(corners.centres(0, 0, 4), 2.5 * (np.arange(4) + 0.5) - 0.5)
    first = Scaling.of_centres((2.5,), (0.0,))
    assert_allclose(first.centres(0, 0, 4), 2.5 * np.arange(4), atol=1e-12)


ANGLE = 0.4
TURNED = [[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]]


@given(st.tuples(LENGTHS, LENGTHS, LENGTHS), st.tuples(LENGTHS, LENGTHS, LENGTHS))
def test_scaling_between_grids_is_that_of_their_geometry(
    shape: tuple[int, int, int], new: tuple[int, int, int]
) -> None:
    grid = Grid.from_centers(shape, (5, -7, 11), (0.7, 0.9, 2.5), TURNED, PATIENT)
    scaling = Scaling.centred(shape, new)
    other = scaling.grid(grid, new)
    assert_allclose(other.matrix, grid.zoom(new).matrix, rtol=1e-12, atol=1e-12)
    found = Scaling.between(grid, other, "it")
    assert_allclose(found.scale, scaling.scale, rtol=1e-9)
    assert_allclose(found.offset, 0, atol=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        Grid.from_centers((9, 9, 9), (0, 0, 0), (1, 1, 1), TURNED, PATIENT),
        Grid.from_centers((9, 9, 9), (0, 0, 0), (1, 1, 1), np.diag([1, -1, 1]), PATIENT),
        Grid.local((9, 9, 9)),
        Grid.local((9, 9)),
    ],
    ids=["turned", "mirrored", "space", "axes"],
)
def test_grids_that_do_not_fit_are_refused(other: Grid) -> None:
    grid = Grid.from_centers((9, 9, 9), (0, 0, 0), (1, 1, 1), space=PATIENT)
    with pytest.raises(GridMismatch, match="the file must have axes that run as the image's do"):
        Scaling.between(grid, other, "the file")


@st.composite
def targets(draw: st.DrawFn) -> Target:
    dims = draw(st.integers(2, 3))
    extent = draw(st.tuples(*[st.integers(1, 30)] * dims))
    shape = draw(st.tuples(*[st.integers(1, 30)] * dims))
    methods = draw(st.tuples(*[st.sampled_from(["nearest", "linear"])] * dims))
    scaling = Scaling.centred(extent, shape)
    if draw(st.booleans()):
        move = draw(st.tuples(*[st.floats(-9, 9)] * dims))
        scaling = Scaling(scaling.scale, move)
    return Target(Grid.local(shape), extent, scaling, methods)


@given(targets(), st.data())
def test_who_is_made_of_whom(target: Target, data: st.DataObject) -> None:
    """`scored`, `users`, `needed` and `complete` by brute force over every pair of samples."""
    tables = []
    for axis, n in enumerate(target.grid.shape):
        taps = target.taps(axis, 0, n).index
        tables.append((taps[..., None] == np.arange(target.extent[axis])).any(axis=1))
    core = _box(data, target.grid.shape)
    scored = target.scored(core)
    for axis, table in enumerate(tables):
        made_of = np.flatnonzero(table[core.slices[axis]].any(axis=0))
        assert (scored.start[axis], scored.stop[axis]) == (made_of[0], made_of[-1] + 1)
    box = _box(data, target.extent)
    users = target.users(box)
    wanted = np.random.default_rng(0).random(target.grid.shape) < 0.1
    expected = wanted
    for axis, table in enumerate(tables):
        expected = np.moveaxis(
            np.tensordot(table.T.astype(int), expected.astype(int), (1, axis)), 0, axis
        )
    needed = target.needed(wanted[users.slices], box)
    assert_array_equal(needed, expected[box.slices] > 0)
    row = data.draw(st.integers(0, target.extent[0]))
    beyond = np.flatnonzero(tables[0][:, row:].any(axis=1))
    assert target.complete(row) == (beyond[0] if len(beyond) else target.grid.shape[0])


def _box(data: st.DataObject, shape: tuple[int, ...]) -> Box:
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    return Box(
        start, tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    )


@given(targets())
def test_a_target_survives_its_json(target: Target) -> None:
    assert Target.from_dict(json.loads(json.dumps(target.to_dict()))) == target
