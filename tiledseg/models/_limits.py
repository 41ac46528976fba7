"""Thresholds of classes: what a class's score must reach for the class to count.

A class counts at a sample where its score reaches its threshold; a class without one always does.

- Where the best channel is chosen (softmax, or sigmoid with a channel per class), the class is the
  best of those that count, and the background, or nodata where there is none, where none does.
- Where a class has a channel that decides on it alone (`single_output`, `painted`), the threshold
  takes the place of 0.5: it can be lower, too. The first class is what the others leave, and has
  none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ._base import ModelCard


def limits_of(
    card: ModelCard, thresholds: Mapping[str | int, float] | None
) -> NDArray[np.float32] | None:
    """Return what the score of every output channel must reach; -inf: it has no threshold.

    Args:
        card: The model's card; its own thresholds are not looked at.
        thresholds: Score by name or id of a class.

    Returns:
        One per channel, or None where there are no thresholds.

    Raises:
        ConfigError: There is no such class, it has no score, or a threshold is none.
    """
    if not thresholds:
        return None
    name = f"model {card.name!r}"
    wanted = {card.schema.find(key, name): value for key, value in thresholds.items()}
    own = card.schema.classes[-card.outputs :]
    for key, value in thresholds.items():
        if card.schema.find(key, name) not in {c.id for c in own}:
            raise ConfigError(
                f"thresholds: class {key!r:.60} of {name} has no score of its own, it is what the "
                f"others leave; give that of {', '.join(c.name for c in own)[:200]}"
            )
        likely = 0 < value <= 1 or (card.activation == "none" and math.isfinite(value))
        if not likely:
            raise ConfigError(
                f"thresholds: {value!r:.40} of class {key!r:.60} is no score of {name}; give a "
                "number above 0 and at most 1"
            )
    return np.array([wanted.get(c.id, -np.inf) for c in own], np.float32)
