"""The compiled loops of the blend against numpy, and the law that a sample's bits are its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiledseg.engine import _kernels as kernels

F = np.float32
Span = tuple[int, int, int]
NO_MAP = np.empty((0, 0, 0), F)


def random_raw(seed: int, shape: tuple[int, ...], spread: float = 3) -> NDArray[np.float32]:
    """Return raw outputs (k, d, h, w)."""
    return np.random.default_rng(seed).normal(0, spread, shape).astype(F)


def tapers_of(shape: tuple[int, ...]) -> tuple[NDArray[np.float32], ...]:
    """Return positive weights along d, h and w."""
    return tuple((1 + np.arange(n, dtype=F) % 7) / F(9) for n in shape[1:])


def expected(
    raw: NDArray[np.float32], activation: int, tapers: tuple[NDArray[np.float32], ...]
) -> NDArray[Any]:
    """Return weighted scores (k, d, h, w), as numpy says; in float64 but for `NONE`."""
    if activation == kernels.NONE:  # the very operations, so the very bits
        weights = (tapers[0][:, None] * tapers[1])[..., None] * tapers[2]
        return raw * weights
    x, (a, b, c) = raw.astype(np.float64), tapers
    weights = np.einsum("i,j,k->ijk", *(t.astype(np.float64) for t in (a, b, c)))
    if activation == kernels.SIGMOID:
        return weights / (1 + np.exp(-x))
    e = np.exp(x - x.max(0))
    return weights * e / e.sum(0)


def add(
    raw: NDArray[np.float32],
    activation: int,
    ring: NDArray[np.float32],
    spans: tuple[Span, Span, Span],
) -> bool:
    """Add a part of a window to a ring."""
    fine: bool = kernels.add_rows(raw, ring, activation, *spans, tapers_of(raw.shape), NO_MAP)
    return fine


def whole(raw: NDArray[np.float32]) -> tuple[Span, Span, Span]:
    """Return the spans of a whole window at the ring's origin."""
    d, h, w = raw.shape[1:]
    return (0, d, 0), (0, h, 0), (0, w, 0)


each = pytest.mark.parametrize("activation", [kernels.NONE, kernels.SIGMOID, kernels.SOFTMAX])


@each
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1),
        (2, 3, 5, 7),
        (14, 4, 9, 33),
        (105, 2, 5, 131),
        (105, 1, 2, 1500),  # wider than what is worked on at a time
        (2000, 1, 3, 70),  # so many classes that fewest samples are worked on
    ],
    ids=str,
)
def test_scores_are_those_of_numpy(activation: int, shape: tuple[int, ...]) -> None:
    raw = random_raw(1, shape)
    ring = np.zeros(shape, F)
    assert add(raw, activation, ring, whole(raw))
    wanted = expected(raw, activation, tapers_of(shape))
    if activation == kernels.NONE:
        np.testing.assert_array_equal(ring, wanted)
    else:
        np.testing.assert_allclose(ring, wanted, rtol=3e-6, atol=1e-12)


@each
def test_windows_are_added_up(activation: int) -> None:
    one, two = random_raw(1, (3, 4, 5, 6)), random_raw(2, (3, 4, 5, 6))
    ring, first, second = (np.zeros((3, 4, 5, 6), F) for _ in range(3))
    for raw, place in ((one, first), (two, second)):
        add(raw, activation, place, whole(raw))
        add(raw, activation, ring, whole(raw))
    np.testing.assert_array_equal(ring, first + second)


@each
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bits_do_not_depend_on_the_part_that_is_swept(activation: int, data: st.DataObject) -> None:
    """The part is where tile and window meet: another tile shows another part of a window."""
    shape = (data.draw(st.integers(1, 5)), *(data.draw(st.integers(1, n)) for n in (6, 9, 150)))
    raw = random_raw(data.draw(st.integers(0, 9)), shape)
    all_of = np.zeros(shape, F)
    add(raw, activation, all_of, whole(raw))
    ring = np.zeros((shape[0], shape[1] + 2, shape[2] + 3, shape[3] + 5), F)
    wanted = ring.copy()
    spans, places = [], []
    for n, room in zip(shape[1:], ring.shape[1:], strict=True):
        low = data.draw(st.integers(0, n - 1))
        high = data.draw(st.integers(low + 1, n))
        to = data.draw(st.integers(0, room - (high - low)))
        spans.append((low, high, to))
        places.append((slice(low, high), slice(to, to + high - low)))
    first = data.draw(st.integers(0, ring.shape[1] - 1))  # rows of a ring go round
    spans[0] = (*spans[0][:2], first)
    rows = (first + np.arange(spans[0][1] - spans[0][0])) % ring.shape[1]
    (row_part, _), (y, to_y), (x, to_x) = places
    wanted[:, rows, to_y, to_x] = all_of[:, row_part, y, x]
    assert add(raw, activation, ring, (spans[0], spans[1], spans[2]))
    np.testing.assert_array_equal(ring, wanted)


@each
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told(activation: int, bad: float) -> None:
    raw = random_raw(1, (3, 2, 4, 70))
    raw[1, 1, 2, 65] = bad
    ring = np.zeros(raw.shape, F)
    assert not add(raw, activation, ring, whole(raw))


def test_what_is_not_swept_is_not_judged() -> None:
    raw = random_raw(1, (3, 2, 4, 70))
    raw[:, 0] = raw[:, :, 0] = raw[..., 0] = np.nan
    ring = np.zeros(raw.shape, F)
    assert add(raw, kernels.SOFTMAX, ring, ((1, 2, 0), (1, 4, 0), (1, 70, 0)))
    assert np.isfinite(ring).all()


@pytest.mark.parametrize("scale", [1e-30, 1, 80, 1e4, 1e30])
def test_scores_of_extreme_outputs_are_finite(scale: float) -> None:
    raw = random_raw(1, (4, 1, 2, 64), 1) * F(scale)
    for activation in (kernels.SOFTMAX, kernels.SIGMOID):
        ring = np.zeros(raw.shape, F)
        assert add(raw, activation, ring, whole(raw))
        with np.errstate(over="ignore"):
            wanted = expected(raw, activation, tapers_of(raw.shape))
        np.testing.assert_allclose(ring, wanted, rtol=1e-5, atol=1e-30)


def test_a_certain_class_has_score_one() -> None:
    raw = np.zeros((3, 1, 1, 40), F)
    raw[2] = 200
    ring = np.zeros(raw.shape, F)
    ones = (np.ones(1, F), np.ones(1, F), np.ones(40, F))
    kernels.add_rows(raw, ring, kernels.SOFTMAX, *whole(raw), ones, NO_MAP)
    np.testing.assert_array_equal(ring[2], 1)
    assert ring[:2].max() < 1e-30


# --------------------------------------------------------------------- decisions


def decided(
    ring: NDArray[np.float32], rows: slice, dtype: type, classes: int | None = None
) -> NDArray[Any]:
    """Return labels, which are channels times two plus one."""
    labels = (2 * np.arange(classes or len(ring)) + 1).astype(dtype)
    found = np.zeros((rows.stop - rows.start, *ring.shape[2:]), dtype)
    kernels.decide_rows(ring, rows.start, labels, found)
    return found


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((2, 3, 4, 5), np.uint8),
        ((6, 2, 3, 128), np.uint8),
        ((105, 2, 2, 300), np.uint8),
        ((700, 2, 2, 129), np.uint16),
    ],
    ids=str,
)
def test_the_highest_score_decides(shape: tuple[int, ...], dtype: type) -> None:
    ring = random_raw(3, shape)
    np.testing.assert_array_equal(decided(ring, slice(1, 2), dtype), 2 * ring[:, 1:2].argmax(0) + 1)


def test_of_equal_scores_the_first_channel_wins() -> None:
    ring = np.round(random_raw(4, (5, 2, 3, 200), 1))  # many ties
    np.testing.assert_array_equal(decided(ring, slice(0, 2), np.uint8), 2 * ring.argmax(0) + 1)


def test_a_single_channel_must_exceed_one_half() -> None:
    ring = np.array([0, 0.5, np.nextafter(F(0.5), F(1)), 1], F).reshape(1, 1, 1, 4)
    assert decided(ring, slice(0, 1), np.uint8, 2).ravel().tolist() == [1, 1, 3, 3]
