"""Boundary F1 against its definition written out with distance transforms of the whole image."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from tiledseg.errors import ConfigError
from tiledseg.metrics import BoundaryF1

IDS = (0, 1, 2)


def scene(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Blobs of three classes, a map that is a little off, unlabelled and nodata corners."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, [n // 3 + 1 for n in shape])
    truth = coarse
    for axis, n in enumerate(shape):
        truth = np.repeat(truth, 3, axis=axis).take(range(n), axis=axis)
    found = np.roll(truth, rng.integers(-2, 3, len(shape)), range(len(shape)))
    found = np.where(rng.random(shape) < 0.05, rng.integers(0, 3, shape), found)
    valid, measured = rng.random(shape) < 0.95, rng.random(shape) < 0.97
    valid[tuple(slice(0, 3) for _ in shape)] = False
    return truth.astype(np.uint8), found.astype(np.uint8), valid, measured


def edge_of(labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    edge = np.zeros(labels.shape, bool)
    for index in np.ndindex(labels.shape):
        for axis, step in product(range(labels.ndim), (-1, 1)):
            other = list(index)
            other[axis] += step
            inside = 0 <= other[axis] < labels.shape[axis]
            if inside and valid[index] and valid[tuple(other)]:
                edge[index] |= labels[index] != labels[tuple(other)]
    return edge


def written_out(truth, found, valid, measured, tolerance, spacing) -> list[float]:
    """Csurka et al. 2013, whole image, class by class."""
    codes = np.where(measured, found.astype(int), 99)
    figures = []
    for c in IDS:
        edges = [edge_of(a, valid) & (a == c) for a in (truth.astype(int), codes)]
        far = [
            distance_transform_edt(~e, sampling=spacing) if e.any() else np.full(e.shape, np.inf)
            for e in edges
        ]
        if not edges[0].any() and not edges[1].any():
            figures.append(np.nan)
            continue
        if not edges[0].any() or not edges[1].any():
            figures.append(0.0)
            continue
        recall = (far[1][edges[0]] <= tolerance + 1e-6).mean()
        precision = (far[0][edges[1]] <= tolerance + 1e-6).mean()
        figures.append(
            0.0 if recall + precision == 0 else 2 * recall * precision / (recall + precision)
        )
    return figures


def streamed(scene, tolerance, spacing, block: int) -> BoundaryF1:
    made = [BoundaryF1(tolerance, spacing), BoundaryF1(tolerance, spacing)]
    shape, halo = scene[0].shape, made[0].halo
    for n, start in enumerate(product(*(range(0, s, block) for s in shape))):
        stop = [min(a + block, s) for a, s in zip(start, shape, strict=True)]
        low = [max(0, a - h) for a, h in zip(start, halo, strict=True)]
        high = [min(s, b + h) for b, h, s in zip(stop, halo, shape, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        core = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, low, strict=True))
        made[n % 2].add(*(a[box] for a in scene), core)
    made[0].merge(made[1])
    return made[0]


@given(
    st.integers(0, 10**6),
    st.sampled_from([(17, 23), (8, 9, 7)]),
    st.sampled_from([0.0, 1.0, 1.5, 3.0]),
    st.sampled_from([1, 4, 5, 64]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_any_blocks_give_the_figure_of_the_whole_image(seed, shape, tolerance, block, flat) -> None:
    spacing = (2.0, 0.75, 1.0)[: len(shape)] if flat else (1.0,) * len(shape)
    drawn = scene(seed, shape)
    f1 = streamed(drawn, tolerance, spacing, block).f1(IDS)
    expected = written_out(*drawn, tolerance, spacing)
    np.testing.assert_allclose(f1, expected, rtol=1e-9, equal_nan=True)
    assert ((f1[~np.isnan(f1)] >= 0) & (f1[~np.isnan(f1)] <= 1)).all()


def test_a_map_that_is_the_truth_has_1_and_a_class_nowhere_has_none() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:9, 5:9] = 1
    everywhere = np.ones(labels.shape, bool)
    f1 = BoundaryF1(0, (1, 1))
    f1.add(labels, labels, everywhere, everywhere, np.s_[:, :])
    assert f1.f1((0, 1)).tolist() == [1, 1]
    assert np.isnan(f1.f1((2,))[0])


def test_a_shift_within_the_tolerance_is_forgiven() -> None:
    truth, everywhere = np.zeros((40, 40), np.uint8), np.ones((40, 40), bool)
    truth[10:20, 10:20] = 1
    found = np.roll(truth, 3, axis=1)
    for tolerance, right in ((3, True), (2.9, False)):
        f1 = BoundaryF1(tolerance, (1, 1))
        f1.add(truth, found, everywhere, everywhere, np.s_[:, :])
        assert bool(f1.f1((1,))[0] == 1) is right


@pytest.mark.parametrize("tolerance", [-1, 65, float("nan"), float("inf")])
def test_tolerances_that_cannot_be_streamed_are_refused(tolerance) -> None:
    with pytest.raises(ConfigError, match="between 0 and 64 samples"):
        BoundaryF1(tolerance, (1.0, 1.0))
