"""Corners of arcs on disk, in a file without a name that ends with the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..io import Scratch

Ints = NDArray[np.int64]
Places = NDArray[np.int32]

#: Bytes of a corner: x and y, int32.
_CORNER = 8
#: Corners between two wanted parts that are read along with them.
_GAP = 4096
#: Corners that are held back before they are written.
_HELD = 1 << 18


class Spill:
    """A list of corners that grows at its end.

    Args:
        folder: Where there is room.

    Raises:
        OutputFailed: There is none.
    """

    def __init__(self, folder: Path) -> None:
        self._scratch = Scratch(folder)
        self._held: list[Places] = []
        self._waiting = 0
        self.corners = 0

    def append(self, coords: Places) -> int:
        """Add corners, (n, 2), and return the place of the first."""
        first = self.corners
        self._held.append(coords)
        self._waiting += len(coords)
        self.corners += len(coords)
        if self._waiting >= _HELD:
            self._flush()
        return first

    def _flush(self) -> None:
        if not self._waiting:
            return
        block = np.concatenate(self._held)
        self._held, self._waiting = [], 0
        self._scratch.append(block)

    def read(self, starts: Ints, counts: Ints) -> Places:
        """Return parts of the list one after the other, (n, 2).

        Args:
            starts: Place of every part's first corner.
            counts: Corners of every part.
        """
        self._flush()
        out = np.empty((int(counts.sum()), 2), np.int32)
        order = np.argsort(starts, kind="stable")
        low, high = starts[order], (starts + counts)[order]
        to = (np.cumsum(counts) - counts)[order]
        reach = np.maximum.accumulate(high) if len(high) else high
        breaks = np.flatnonzero(low[1:] > reach[:-1] + _GAP) + 1
        for some in np.split(np.arange(len(order)), breaks):
            if len(some):
                self._take(out, low[some], high[some], to[some])
        return out

    def _take(self, out: Places, low: Ints, high: Ints, to: Ints) -> None:
        first, last = int(low[0]), int(high.max())
        if first == last:
            return
        block = self._scratch.read(first * _CORNER, 2 * (last - first), np.int32).reshape(-1, 2)
        lengths = high - low
        total = int(lengths.sum())
        steps = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        out[np.repeat(to, lengths) + steps] = block[np.repeat(low - first, lengths) + steps]

    def close(self) -> None:
        """Give the file back."""
        self._scratch.close()
