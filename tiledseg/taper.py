"""Weight profiles of a window along one axis: a closed set of four, and two that are no product.

A window's weight is the outer product of its 1-D tapers. Because the lattice is a product lattice,
the sum of all weights at a sample is an outer product too, so dividing each 1-D taper by the 1-D
sum at its place makes the weights sum to one everywhere, with no image-sized weight map.

MONAI's weights are such a product too, but raised to a floor, and nnU-Net's are rounded to half
precision. So they come as a map of a window, and what they sum to is gathered beside the scores.
nnU-Net rounds those sums, too, so that its results can only be had by doing the same.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Taper(StrEnum):
    """Name of a weight profile."""

    FLAT = "flat"
    LINEAR = "linear"
    HANN = "hann"
    GAUSSIAN = "gaussian"
    MONAI = "monai"
    NNUNET = "nnunet"


#: Of a window's largest weight: MONAI's compute_importance_map lets none be smaller.
_FLOOR = 1e-3


def _linear(n: int) -> NDArray[np.float64]:
    position = np.arange(n)
    return np.asarray(np.minimum(position + 1.0, n - position) / ((n + 1) // 2))


def _hann(n: int) -> NDArray[np.float64]:
    # Sampled at centres, so that the ends are small but never 0.
    profile: NDArray[np.float64] = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    return profile


def _gaussian(n: int) -> NDArray[np.float64]:
    # sigma = n / 8 about the true centre (n - 1) / 2: the profile of MONAI's "gaussian" mode.
    offset = (np.arange(n) - (n - 1) / 2) / (n / 8)
    profile: NDArray[np.float64] = np.exp(-0.5 * offset**2)
    return profile


def _nnunet(n: int) -> NDArray[np.float64]:
    # sigma = n / 8 about sample n // 2 (nnU-Net v2, compute_gaussian).
    offset = (np.arange(n) - n // 2) / (n / 8)
    profile: NDArray[np.float64] = np.exp(-0.5 * offset**2)
    return profile


_PROFILES: dict[Taper, Callable[[int], NDArray[np.float64]]] = {
    Taper.FLAT: np.ones,
    Taper.LINEAR: _linear,
    Taper.HANN: _hann,
    Taper.GAUSSIAN: _gaussian,
    Taper.MONAI: _gaussian,
    Taper.NNUNET: _nnunet,
}


def profile(taper: Taper, window: int) -> NDArray[np.float64]:
    """Return the weights of a window's samples along one axis.

    Args:
        taper: Which profile.
        window: Samples in the window, at least 1.

    Returns:
        ``window`` weights in (0, 1], largest in the middle and symmetric about it, float64; about
        sample ``window // 2`` for ``nnunet``.

    >>> profile(Taper.LINEAR, 4).tolist()
    [0.5, 1.0, 1.0, 0.5]
    """
    return _PROFILES[taper](window)


def weight_map(taper: Taper, window: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return the weights of a whole window where they are no product of profiles, else None.

    ``monai`` is the outer product of gaussian profiles in float32, the first axes first, and at
    least 0.001: MONAI's ``compute_importance_map`` of mode "gaussian". ``nnunet`` is the outer
    product in float64, at most 10, rounded to half precision; what would be 0 is the smallest that
    is not: nnU-Net's ``compute_gaussian``.

    Args:
        taper: Which profile.
        window: Samples per axis.
    """
    if taper is Taper.NNUNET:
        return _half_map(window).astype(np.float32)
    if taper is not Taper.MONAI:
        return None
    weights = np.ones((), np.float32)
    for n in window:
        x = np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)
        profile = np.exp(x**2 / np.float32(-2 * (n * 0.125) ** 2))
        weights = weights[..., None] * profile
    return np.maximum(weights, np.float32(max(_FLOOR, float(weights.min()))))


def _half_map(window: tuple[int, ...]) -> NDArray[np.float16]:
    weights = np.ones(())
    for extent in window:
        weights = weights[..., None] * _nnunet(extent)
    weights /= weights.max() / 10
    half = weights.astype(np.float32).astype(np.float16)  # by way of float32, as torch converts
    half[half == 0] = half[half > 0].min()
    return half


def kept_range(start: int, window: int, extent: int, margin: int) -> tuple[int, int]:
    """Return the half-open range of samples on which the window at ``start`` weighs.

    Its own samples less ``margin`` on either side; at the image's border nothing is dropped.

    >>> kept_range(16, 32, 100, 4), kept_range(72, 32, 100, 4)
    ((20, 44), (76, 100))
    """
    low = 0 if start <= 0 else start + margin
    high = extent if start + window >= extent else start + window - margin
    return low, high


def normalized_profiles(
    taper: Taper, window: int, starts: tuple[int, ...], extent: int, margin: int
) -> list[NDArray[np.float32]]:
    """Return one taper per window of an axis, such that they sum to one at every sample.

    Args:
        taper: Which profile.
        window: Samples in a window.
        starts: First sample of every window along the axis; may be negative.
        extent: Samples of the image along the axis.
        margin: Samples dropped (weight 0) on a window's sides that are not at the image's border.

    Returns:
        A float32 array of ``window`` weights for every start. Samples outside the image weigh 0.

    Raises:
        ValueError: A sample of the image is covered by no window.
    """
    base = profile(taper, window)
    total = np.zeros(extent)
    kept: list[tuple[NDArray[np.float64], slice, slice]] = []
    for start in starts:
        low, high = kept_range(start, window, extent, margin)
        image, local = slice(low, high), slice(low - start, high - start)
        weights = np.zeros(window)
        weights[local] = base[local]
        total[image] += base[local]
        kept.append((weights, image, local))
    if not (total > 0).all():
        raise ValueError(f"sample {int(np.argmin(total))} of {extent} lies in no window")
    for weights, image, local in kept:
        weights[local] /= total[image]
    return [weights.astype(np.float32) for weights, _, _ in kept]
