"""Images for tests of the engine."""

from __future__ import annotations

import numpy as np


def blocky(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return blocky noise, (3, *shape), 0 to 255."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (3, *(n // 7 + 1 for n in shape)))
    for axis in range(1, coarse.ndim):
        coarse = coarse.repeat(7, axis)
    cut = coarse[(slice(None), *(slice(n) for n in shape))]
    return (cut + rng.integers(0, 56, cut.shape)).astype(np.uint8)
