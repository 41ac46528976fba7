"""Smooth random fields: the stuff landscapes and organs are made of."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def field(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> Floats:
    """Return a smooth field in about [-1, 1] whose features are ``size`` samples wide."""
    knots = tuple(ceil(n / size) + 3 for n in shape)
    values = rng.standard_normal(knots).astype(np.float32) * 0.6
    shift = rng.random(len(shape))
    for axis, n in enumerate(shape):
        values = _stretch(values, axis, np.arange(n) / size + shift[axis])
    return values


def fractal(rng: np.random.Generator, shape: tuple[int, ...], size: float, octaves: int) -> Floats:
    """Return a sum of fields, each half as wide and half as strong as the one before."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += field(rng, shape, max(1.5, size / 2**octave)) / np.float32(2**octave)
    return total


def _stretch(values: Floats, axis: int, at: NDArray[np.float64]) -> Floats:
    """Sample one axis at fractional knots, eased so that slopes meet smoothly."""
    low = at.astype(np.int64)
    part = at - low
    ease = (part * part * (3 - 2 * part)).astype(np.float32)
    ease = ease.reshape(-1, *(1,) * (values.ndim - axis - 1))
    below, above = np.take(values, low, axis), np.take(values, low + 1, axis)
    stretched: Floats = below + (above - below) * ease
    return stretched
