"""The modal filter is what counting around every sample gives; and blocks do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiledseg.components import Ball, smoothed
from tiledseg.errors import ConfigError
from tiledseg.grid import LOCAL, PATIENT, Grid, Space, SpaceKind
from tiledseg.io import MemorySource
from tiledseg.steps import Smooth

METRES = Space(SpaceKind.PROJECTED, "PROJCS", 1.0)


def oracle(labels: np.ndarray, radii: tuple[float, ...]) -> np.ndarray:
    """Count every class around every sample of the whole map; -1 is nodata."""
    halo = [int(r) for r in radii]
    steps = np.stack(np.meshgrid(*(np.arange(-h, h + 1) for h in halo), indexing="ij"), -1)
    near = ((steps / np.array(radii)) ** 2).sum(-1) <= 1 + 1e-9
    classes = np.arange(max(int(labels.max()), 0) + 1)
    counts = np.stack(
        [
            ndimage.correlate(
                (labels == c).astype(np.int64), near.astype(np.int64), mode="constant"
            )
            for c in classes
        ]
    )
    own = np.take_along_axis(counts, np.maximum(labels, 0)[None], 0)[0]
    found = np.where(own == counts.max(0), labels, counts.argmax(0))
    return np.where(labels < 0, -1, found)


def made(labels: np.ndarray, step: Smooth, grid: Grid, block: tuple[int, ...]) -> np.ndarray:
    source = MemorySource(labels[None].astype(np.int16), grid, nodata=-1)
    found = np.empty(labels.shape, np.int64)
    for box, before, after in smoothed(source, Ball.of(step, grid, "map"), block):
        np.testing.assert_array_equal(before, labels[box.slices])
        found[box.slices] = after
    return found


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3), st.sampled_from((1, 1.5, 2, 3.3, 60)))
def test_any_blocks_give_the_counts_of_the_whole(seed: int, ndim: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 20 if ndim == 2 else 8, ndim).tolist())
    labels = rng.integers(0, rng.integers(2, 5), shape)
    labels[rng.random(shape) < rng.choice((0.0, 0.2))] = -1
    block = tuple(int(rng.integers(1, n + 1)) for n in shape)
    found = made(labels, Smooth(radius), Grid.local(shape), block)
    np.testing.assert_array_equal(found, oracle(labels, (radius,) * ndim))


def test_millimetres_follow_the_voxels() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (9, 11, 12))
    grid = Grid.from_centers(labels.shape, (0, 0, 0), (0.5, 1.0, 2.5), space=PATIENT)
    found = made(labels, Smooth(3, "mm"), grid, (4, 3, 5))
    np.testing.assert_array_equal(found, oracle(labels, (1.2, 3.0, 6.0)))


def test_metres_reach_what_rounding_would_lose() -> None:
    """0.3 m are three samples of 0.1 m, though not in binary fractions."""
    labels = np.random.default_rng(1).integers(0, 3, (15, 16))
    grid = Grid.from_centers(labels.shape, (0, 0), (0.1, 0.1), space=METRES)
    found = made(labels, Smooth(0.3, "m"), grid, (15, 16))
    np.testing.assert_array_equal(found, oracle(labels, (3.0, 3.0)))


@pytest.mark.parametrize(
    ("step", "space", "sentence"),
    [
        (Smooth(5, "m"), METRES, r"radius of 5 m reaches no other sample of map; give at least 10"),
        (Smooth(0.5), LOCAL, r"radius of 0\.5 samples reaches no other .* give at least 1"),
        (Smooth(20, "m"), LOCAL, r"map has no lengths in m that are the same everywhere \(local\)"),
        (Smooth(20, "mm"), METRES, "map has no lengths in mm"),
        (
            Smooth(20, "m"),
            Space(SpaceKind.GEOGRAPHIC, "G"),
            r"in m .*\(geographic\); give .* in samples",
        ),
    ],
)
def test_what_cannot_be_is_refused(step: Smooth, space: Space, sentence: str) -> None:
    grid = Grid.from_centers((9, 9), (0, 0), (10, 10), space=space)
    with pytest.raises(ConfigError, match=sentence):
        Ball.of(step, grid, "map")
