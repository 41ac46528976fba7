"""Statistics of every sample of an image, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..moments import Moments
from ..normalize import Normalization, SceneStep, measured
from ._base import Source

#: Samples of all channels read at a time.
_READ = 1 << 22


def fit_exactly(source: Source, normalization: Normalization) -> Normalization:
    """Replace the scene steps that are to be exact by fixed ones, up to the first that is not.

    The image is read once for every such step, because each sees what those before it made of it.

    Args:
        source: The image as the model sees it, but for the normalisation.
        normalization: A chain of steps.
    """
    fixed = Normalization()
    for place, step in enumerate(normalization.steps):
        if isinstance(step, SceneStep):
            if not step.exact:
                return replace(fixed, steps=(*fixed.steps, *normalization.steps[place:]))
            found: Moments | None = None
            for samples in _samples(source, fixed):
                some = step.moments(samples)
                found = some if found is None else found + some
            new = step.fit_moments(found) if found is not None else ()
            fixed = Normalization((*fixed.steps, *new))
        else:
            fixed = Normalization((*fixed.steps, step))
    return fixed


def _samples(source: Source, normalization: Normalization) -> Iterator[NDArray[np.float32]]:
    """Yield the measured samples (c, n) of some rows after the other, normalised so far."""
    whole = source.grid.box
    step = max(1, _READ // (len(source.channels) * prod(source.grid.shape[1:])))
    for row in range(0, whole.shape[0], step):
        box = whole.along(0, row, min(row + step, whole.shape[0]))
        values = source.read(box)
        valid = measured(values, source.valid(box))
        if valid.any():
            yield normalization(values, valid)[:, valid]
