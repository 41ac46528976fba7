"""The score of every sample for the class it has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...components import read_labels
from ...errors import ConfigError
from ...io import DerivedSource, Source
from ...labels import ClassSchema


class OwnScores(DerivedSource):
    """Of scores with a channel per class, that of each sample's own class.

    Args:
        labels: The class map.
        scores: Its scores, on its grid.
        schema: The classes; channels have their names.

    Raises:
        ConfigError: A class has no channel.
        GridMismatch: The scores lie elsewhere.
    """

    def __init__(self, labels: Source, scores: Source, schema: ClassSchema) -> None:
        labels.grid.require_like(scores.grid, f"scores {scores.uri}")
        missing = [c.name for c in schema.unique if c.name not in scores.channels]
        if missing:
            raise ConfigError(
                f"scores {scores.uri} must be one channel, or one of the name of every class; "
                f"{missing[0]!r:.60} is not among {', '.join(scores.channels)[:200]}: name a "
                "channel, FILE:CHANNEL"
            )
        super().__init__(scores)
        self._labels = labels
        self._places = np.full(1 << 16, -1, np.int64)
        for c in schema.unique:
            self._places[c.id] = scores.channels.index(c.name)
        self.channels, self.dtype, self.nodata = ("score",), np.dtype(np.float64), None

    def read(self, box: Box) -> NDArray[Any]:
        """Return the scores of ``box``, NaN where there is no class."""
        labels = read_labels(self._labels, box)
        places = np.where(labels < 0, -1, self._places[labels])
        values = self.inner.read(box).astype(np.float64)
        own = np.take_along_axis(values, np.maximum(places, 0)[np.newaxis], axis=0)
        own[0, places < 0] = np.nan
        return own
