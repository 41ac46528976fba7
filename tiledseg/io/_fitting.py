"""Normalisation fitted to an image: by the same samples in training and in inference."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..normalize import Normalization, measured
from ._base import Source
from ._moments import fit_exactly
from ._whole import Cropped, fit_whole

#: Most samples per axis, and in all, of the decimated image that pictures and scene statistics
#: are taken from. 256 along every axis keeps a common head scan whole.
_PER_AXIS = {2: 1024, 3: 256}
_ALL = 32_000_000

#: A decimated image, (c, *s), and where it was measured.
Overview = tuple[NDArray[Any], NDArray[np.bool_]]


def decimated(image: Source) -> Overview:
    """Return a decimated image, small whatever the extent and the number of channels."""
    limit = _PER_AXIS[image.grid.ndim]
    if image.grid.ndim == 2:
        limit = max(64, min(limit, isqrt(_ALL // len(image.channels))))
    values, valid = image.overview(limit)
    return values, measured(values, valid)


def fit_to(
    image: Source,
    seen: Source,
    steps: Normalization,
    array: Cropped,
    overview: Overview | None = None,
) -> Normalization:
    """Return a normalisation fitted to an image.

    Args:
        image: On its own grid, along the model's axes.
        seen: On the model's grid: what exact statistics are of.
        steps: The chain.
        array: What of the image counts as whole.
        overview: The image decimated, where that is known already.
    """
    if steps.whole is not None:
        return fit_whole(image, steps, array)
    exact = fit_exactly(seen, steps) if steps.exact else steps
    if exact.fitted:
        return exact
    values, valid = decimated(image) if overview is None else overview
    return exact.fit(values[:, valid])
