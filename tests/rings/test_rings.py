"""Contours enclose the voxels of their class and nothing else, however they are filled."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tiledseg.errors import ConfigError
from tiledseg.io import MemorySource
from tiledseg.rings import Contour, find_contours

ALL = np.arange(1 << 16) > 0


def contours_of(labels: np.ndarray) -> list[Contour]:
    return list(find_contours(MemorySource(labels[np.newaxis]), ALL))


def windings(corners: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return how often a polygon goes around the middle of every sample."""
    found = np.zeros(shape, np.int64)
    for (y, x), (to, _) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        low, high = sorted((y, to))
        found[low:high, x:] += 1 if y > to else -1  # sides up and down are all along samples
    return found


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 11), st.integers(1, 11)),
    classes=st.integers(1, 3),
)
def test_every_face_has_one_contour_that_encloses_it_once(
    seed: int, shape: tuple[int, int, int], classes: int
) -> None:
    """By winding number and by even-odd (GDAL); noise, so with faces in holes in faces."""
    rng = np.random.default_rng(seed)
    labels = (rng.integers(1, classes + 1, shape) * (rng.random(shape) < rng.random())).astype("u1")
    found, filled = np.zeros((2, *shape), np.int64), np.zeros(classes + 1)
    for contour in contours_of(labels):
        around = windings(contour.corners, shape[1:])
        assert around.min() >= 0
        assert around.max() == 1
        assert ndimage.label(around)[1] == 1
        assert (labels[contour.plane][around == 1] == contour.label).all()
        assert contour.area == around.sum()
        found[0, contour.plane] += contour.label * around
        polygon = shapely.Polygon(contour.corners[:, ::-1])
        found[1, contour.plane] += rasterio.features.rasterize(
            [(polygon, contour.label)], shape[1:]
        )
        filled[contour.label] += 1
        steps = np.diff(contour.corners, axis=0, append=contour.corners[:1])
        assert ((steps == 0).sum(axis=1) == 1).all()
        assert (np.sign(steps) != np.sign(np.roll(steps, 1, axis=0))).any(axis=1).all()
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_array_equal(found[1], labels)
    for label in range(1, classes + 1):
        assert filled[label] == sum(ndimage.label(plane == label)[1] for plane in labels)


def test_a_hole_is_joined_by_a_channel() -> None:
    labels = np.ones((1, 4, 5), np.uint8)
    labels[0, 1, 2] = 0
    (contour,) = contours_of(labels)
    assert contour.corners.tolist() == [
        *([0, 0], [0, 5], [4, 5], [4, 0], [1, 0]),
        *([1, 2], [2, 2], [2, 3], [1, 3], [1, 0]),
    ]
    assert contour.area == 19


def test_scenes_have_no_contours() -> None:
    with pytest.raises(ConfigError, match="contours are made of volumes; make polygons"):
        contours_of(np.ones((3, 4), np.uint8))
