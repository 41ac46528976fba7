"""Corners of arcs on disk, in the ledger's entries that hold them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ..io import Entry, Ledger

Ints = NDArray[np.int64]
Places = NDArray[np.int32]

#: Bytes of a corner: x and y, int32. Places of corners are those of their bytes over this.
_CORNER = 8
#: Corners between two wanted parts that are read along with them.
_GAP = 4096


def read_corners(ledger: Ledger, starts: Ints, counts: Ints) -> Places:
    """Return lists of corners one after the other, (n, 2).

    Args:
        ledger: Where they are.
        starts: Place of every list's first corner.
        counts: Corners of every list.
    """
    out = np.empty((int(counts.sum()), 2), np.int32)
    order = np.argsort(starts, kind="stable")
    low, high = starts[order], (starts + counts)[order]
    to = (np.cumsum(counts) - counts)[order]
    reach = np.maximum.accumulate(high) if len(high) else high
    breaks = np.flatnonzero(low[1:] > reach[:-1] + _GAP) + 1
    for begin, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(order)], strict=True):
        if begin == end or low[begin] == reach[end - 1]:
            continue
        first, last = int(low[begin]), int(reach[end - 1])
        block = ledger.read(first * _CORNER, 2 * (last - first), np.int32).reshape(-1, 2)
        _take(block, low[begin:end] - first, high[begin:end] - first, to[begin:end], out)
    return out


def starts_in(entry: Entry, number: int, counts: NDArray[np.integer]) -> Ints:
    """Return the place of every list's first corner, of lists that an entry's array holds.

    Args:
        entry: The entry.
        number: Of the array.
        counts: Corners of every list.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    starts: Ints = entry.place(number) // _CORNER + ends - counts
    return starts


@compiled
def _take(block: Places, low: Ints, high: Ints, to: Ints, out: Places) -> None:
    """Copy lists of corners from a block to their places."""
    for k in range(len(low)):
        at = to[k]
        for i in range(low[k], high[k]):
            out[at, 0], out[at, 1] = block[i, 0], block[i, 1]
            at += 1
