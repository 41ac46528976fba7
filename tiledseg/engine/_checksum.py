"""Checksums of what a tile stored: of its class map, and of its scores."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Checksum:
    """Fed with a tile's rows from first to last, in pieces of any height.

    Every channel of the scores has a CRC-32 of its own; that of the scores is over those.
    """

    def __init__(self) -> None:
        self.labels = 0
        self._channels: list[int] = []

    def add(self, labels: NDArray[Any], scores: NDArray[Any] | None) -> None:
        """Take the next rows, (rows, ...) and (k, rows, ...)."""
        self.labels = zlib.crc32(np.ascontiguousarray(labels).data, self.labels)
        if scores is not None:
            before = self._channels or [0] * len(scores)
            self._channels = [
                zlib.crc32(np.ascontiguousarray(channel).data, crc)
                for channel, crc in zip(scores, before, strict=True)
            ]

    @property
    def scores(self) -> int | None:
        """Of the scores, or None where there were none."""
        if not self._channels:
            return None
        return zlib.crc32(struct.pack(f"<{len(self._channels)}I", *self._channels))
