"""One component -> its parts, by watershed; the only door here to scikit-image.

Seeds are peaks of the heights, one for each h-maximum (Soille 2003, Morphological Image Analysis,
6.3.5): the first sample of a peak that rises by more than ``depth`` above every pass to a higher
one, and above every pass to an equal one that comes before it. From the seeds, numbered by their
places, every sample is flooded in the order of falling heights; of equal ones that which was
reached first. All of it is done on the component alone, so it depends on nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import MissingBackend
from ._kernels import mark_peaks

try:
    from skimage.segmentation import watershed
except ImportError as error:
    raise MissingBackend(error.name or "scikit-image", "instances", "splitting objects") from None

#: Bytes that are held per sample of a component's box: 67 in 2-D and 82 in 3-D were measured.
SAMPLE_BYTES = 100


def distances(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Return how far the samples of a component are from the nearest outside of it.

    Args:
        mask: The component; what is beyond the array is outside.
        spacing: Distance between samples per axis.
    """
    inner = (slice(1, -1),) * mask.ndim
    whole = ndimage.distance_transform_edt(np.pad(mask, 1), spacing)
    found: NDArray[np.float64] = whole[inner]
    return found


def parts_of(
    mask: NDArray[np.bool_], heights: NDArray[np.float64], depth: float, rank: int
) -> NDArray[np.int32] | None:
    """Return the parts of a component, numbered from 1, 0 outside; None where it is one part.

    Args:
        mask: The component, connected.
        heights: Of every sample, finite; only those in the component count.
        depth: By more than how much a peak rises, above 0.
        rank: Along how many axes at once neighbours may lie apart.
    """
    own = heights[mask]
    if float(own.max()) - depth <= float(own.min()):  # no peak rises that far
        return None
    inside, ground = np.pad(mask, 1), np.pad(heights, 1)
    near: Any = ndimage.generate_binary_structure(mask.ndim, rank)
    places = np.flatnonzero(inside)
    order = places[np.argsort(-own, kind="stable")]
    strides = np.array(ground.strides) // ground.itemsize
    steps = (np.argwhere(near) - 1) @ strides
    peaks = np.zeros(ground.size, np.bool_)
    mark_peaks(ground.ravel(), order, steps[steps != 0], depth, peaks)
    seeds = np.zeros(ground.shape, np.int32)
    chosen = np.flatnonzero(peaks)
    if len(chosen) < 2:
        return None
    seeds.ravel()[chosen] = np.arange(1, len(chosen) + 1)
    flooded = watershed(-ground, seeds, connectivity=near, mask=inside)
    return np.ascontiguousarray(flooded[(slice(1, -1),) * mask.ndim], np.int32)
