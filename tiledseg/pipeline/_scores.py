"""Channels of scores, and the score of every sample for the class it has."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..components import read_labels
from ..errors import ConfigError
from ..io import DerivedSource, Source, open_source
from ..labels import ClassSchema


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
        self.scale = scores.scale

    def read(self, box: Box) -> NDArray[Any]:
        """Return the scores of ``box`` as they are stored, NaN where there is no class."""
        labels = read_labels(self._labels, box)
        places = np.where(labels < 0, -1, self._places[labels])
        values = self.inner.read(box)  # of all classes
        own = np.take_along_axis(values, np.maximum(places, 0)[np.newaxis], axis=0)
        own = own.astype(np.float64)
        own[0, places < 0] = np.nan
        return own


def open_scores(
    text: str, source: Source, named: tuple[str, ClassSchema | None], stack: ExitStack
) -> Source:
    """Open the scores of a class map: a channel, or that of each sample's own class.

    Args:
        text: The file, or ``FILE:CHANNEL``.
        source: The map.
        named: What it is called, and the classes it was written with, if any.
        stack: Closes the scores.

    Raises:
        ConfigError: There is no such file or channel, or none of some class.
        GridMismatch: The scores lie elsewhere.
    """
    scores = stack.enter_context(open_channels(text, None, "scores"))
    source.grid.require_like(scores.grid, f"scores {scores.uri}")
    if len(scores.channels) == 1:
        return scores
    name, schema = named
    if schema is None:
        raise ConfigError(
            f"scores {text} have {len(scores.channels)} channels, and {name} does not name "
            "its classes: name one channel, FILE:CHANNEL"
        )
    return OwnScores(source, scores, schema)


def open_channels(text: str, count: int | None, what: str) -> Source:
    """Open some channels of a file, ``FILE`` or ``FILE:CHANNELS``, by number from 1 or name.

    Args:
        text: The file, and which channels.
        count: So many are needed; None: one or more.
        what: What they are, for messages.

    Raises:
        ConfigError: There is no such file or channel, or there are more or fewer.
        DamagedInput: The file is not what it claims to be.
    """
    head, channels = parted(text)
    source = open_source(head, channels=channels)
    if count is not None and len(source.channels) != count:
        source.close()
        example = ",".join(map(str, range(1, count + 1)))
        raise ConfigError(
            f"{what} {text} must be {count} channel{'s' * (count > 1)}, found "
            f"{len(source.channels)}; name which, like {head}:{example}"
        )
    return source


def parted(text: str) -> tuple[str, tuple[int | str, ...] | None]:
    """Return the file and the channels of ``FILE:CHANNELS``; None: all of them."""
    head, colon, tail = text.rpartition(":")
    if not colon or "/" in tail or os.path.exists(text):
        return text, None
    parts = [part.strip() for part in tail.split(",")]
    return head, tuple(int(p) if p.isdecimal() and len(p) < 9 else p for p in parts)
