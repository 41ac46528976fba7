"""Tapers are positive and symmetric, and on any lattice they sum to one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import gaussian_filter

from tiledseg.lattice import Lattice, starts
from tiledseg.taper import Taper, normalized_profiles, profile, weight_map

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.data.utils import compute_importance_map

TAPERS = st.sampled_from(Taper)


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, tuple[int, ...], int, int]:
    """Draw (window, starts, extent, margin) of an axis that a plan could have."""
    multiple = draw(st.sampled_from([1, 2, 4, 8]))
    window = multiple * draw(st.integers(1, 24))
    stride = multiple * draw(st.integers(1, window // multiple))
    margin = draw(st.integers(0, (window - stride) // 2))
    extent = draw(st.integers(1, 400))
    kind = draw(st.sampled_from(Lattice))
    return window, starts(kind, extent, window, stride, multiple), extent, margin


@given(TAPERS, st.integers(1, 2000))
def test_a_taper_is_positive_symmetric_and_largest_in_the_middle(taper: Taper, n: int) -> None:
    weights = profile(taper, n)
    assert weights.shape == (n,)
    assert weights.min() > 0
    assert weights.max() <= 1
    centred = weights[1 - n % 2 :] if taper is Taper.NNUNET else weights  # about sample n // 2
    assert_allclose(centred, centred[::-1], rtol=1e-9)
    assert (np.diff(centred[: (len(centred) + 1) // 2]) >= 0).all()


@given(st.integers(1, 600))
def test_gaussian_is_monais(n: int) -> None:
    oracle = compute_importance_map((n,), mode="gaussian", sigma_scale=0.125).numpy()
    # MONAI raises the ends to 0.001; here they only need to be above 0.
    assert_allclose(np.maximum(profile(Taper.GAUSSIAN, n), 1e-3), oracle, rtol=1e-5)


@pytest.mark.parametrize(
    "window", [(64, 64, 64), (20, 96, 72), (33, 7, 40), (128, 160), (1, 48, 56)]
)
def test_half_weights_are_nnunets(window: tuple[int, ...]) -> None:
    """The recipe of nnU-Net's compute_gaussian, with scipy in its place."""
    delta = np.zeros(window)
    delta[tuple(n // 2 for n in window)] = 1
    expected = gaussian_filter(delta, [n / 8 for n in window], 0, mode="constant", cval=0)
    expected /= expected.max() / 10
    half = torch.from_numpy(expected).half()
    half[half == 0] = half[half != 0].min()
    found = weight_map(Taper.NNUNET, window)
    assert found is not None
    assert_array_equal(found, half.float().numpy())


@given(TAPERS, axes())
def test_weights_sum_to_one_at_every_sample(
    taper: Taper, axis: tuple[int, tuple[int, ...], int, int]
) -> None:
    window, first, extent, margin = axis
    weights = normalized_profiles(taper, window, first, extent, margin)
    room = 2 * window  # windows may begin before the image and end after it
    total = np.zeros(extent + 2 * room)
    for start, part in zip(first, weights, strict=True):
        assert part.shape == (window,)
        assert part.dtype == np.float32
        assert part.min() >= 0
        total[room + start : room + start + window] += part
    assert_allclose(total[room : room + extent], 1, atol=1e-6)
    assert_array_equal(total[:room], 0)
    assert_array_equal(total[room + extent :], 0)


@given(TAPERS, axes())
def test_a_margin_weighs_nothing_except_at_the_border(
    taper: Taper, axis: tuple[int, tuple[int, ...], int, int]
) -> None:
    window, first, extent, margin = axis
    weights = normalized_profiles(taper, window, first, extent, margin)
    for start, part in zip(first, weights, strict=True):
        low = -start if start <= 0 else margin
        high = extent - start if start + window >= extent else window - margin
        assert (part[low:high] > 0).all()
        assert not part[:low].any()
        assert not part[high:].any()


@given(axes())
def test_alone_or_flat_windows_share_evenly(
    axis: tuple[int, tuple[int, ...], int, int],
) -> None:
    window, first, extent, margin = axis
    for part in normalized_profiles(Taper.FLAT, window, first, extent, margin):
        shares = 1 / part[part > 0]
        assert_allclose(shares, np.round(shares), rtol=1e-6)


def test_a_gap_is_named() -> None:
    with pytest.raises(ValueError, match="sample 8 of 20 lies in no window"):
        normalized_profiles(Taper.FLAT, 8, (0, 12), 20, 0)
