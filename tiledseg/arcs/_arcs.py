"""The borders of a map's components as arcs between nodes, whatever bands the map is read in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import BudgetExceeded
from ._join import join
from ._spill import Ints, Places, Spill
from ._trace import mark, trace

#: Ends of pieces and of nodes that 32 bits can tell apart.
_MOST = (1 << 31) - 1


@dataclass(frozen=True)
class Arcs:
    """Lines between nodes, where three or four components meet, and rings that meet no node.

    Every border between two components, or a component and what is none, is part of one arc. An
    arc starts at the smaller of its nodes (row by row), a ring at its smallest vertex, eastwards.
    Bytes: some 60 per arc; corners are on disk.

    Args:
        starts: Place of every arc's first corner in the spill.
        rows: Corners, component left and right, start and end of every arc, (n, 5): an end is 4
            times a node, plus the heading that leads from it, below 0 for rings. An arc of -1 at
            both sides is none.
        slots: The arc that leads from every node in every heading, (nodes, 4): twice its number,
            plus 1 where it is walked backwards; -1 where there is none.
        spill: The corners, (x, y).
    """

    starts: Ints
    rows: Places
    slots: Places
    spill: Spill = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.spill.close()

    def corners(self, which: Ints) -> Places:
        """Return the corners of some arcs, one after the other, (n, 2): x and y."""
        return self.spill.read(self.starts[which], self.rows[which, 0].astype(np.int64))

    def across_corners(self) -> tuple[Places, Places]:
        """Return the pairs of components that meet at a node of four arcs, across it."""
        four = self.slots[(self.slots >= 0).all(axis=1)]
        arcs, side = four >> 1, four & 1
        left, right = self.rows[arcs, 1 + side], self.rows[arcs, 2 - side]
        east, west = 0, 2
        one = np.concatenate([right[:, west], left[:, east]])  # from the upper left, upper right
        other = np.concatenate([right[:, east], left[:, west]])
        both = (one >= 0) & (other >= 0)
        return one[both], other[both]


def trace_arcs(bands: Iterable[NDArray[np.integer]], columns: int, folder: Path) -> Arcs:
    """Trace the arcs of a map.

    Args:
        bands: Component of every sample, -1 where there is none, (rows, columns), from the
            first row to the last. The result does not depend on how many rows a band has.
        columns: Samples in a row.
        folder: Where there is room for the corners, 8 bytes each.

    Raises:
        BudgetExceeded: There are more arcs or nodes than 32 bits can tell apart.
        OutputFailed: The folder has no room.
    """
    gathered = _Gathered(columns, Spill(folder))
    try:
        for band in bands:
            gathered.add(band)
        gathered.add(np.full((1, columns), -1, np.int32))  # its upper sides are the map's lower
        return gathered.joined()
    except BaseException:
        gathered.spill.close()
        raise


class _Gathered:
    """What bands add up to."""

    def __init__(self, columns: int, spill: Spill) -> None:
        self.spill = spill
        self._above = np.full(columns + 2, -1, np.int32)
        self._bottoms = np.full(columns + 1, -1, np.int32)
        self._rows: list[Places] = [np.zeros((0, 5), np.int32)]
        self._slots: list[Places] = [np.zeros((0, 4), np.int32)]
        self._pairs: list[Places] = [np.zeros((0, 2), np.int32)]
        self._line = self._pieces = self._nodes = 0

    def add(self, band: NDArray[np.integer]) -> None:
        """Add a band."""
        ids = np.full((band.shape[0] + 1, band.shape[1] + 2), -1, np.int32)
        ids[0], ids[1:, 1:-1] = self._above, band
        bits = np.empty(ids.shape, np.uint8)
        edges, _, above = mark(ids, bits)
        coords, rows, slots, tops, bottoms = trace(ids, bits, self._line, (edges, above))
        self.spill.append(coords)
        # Twice: joined pieces are new arcs, of which there are fewer.
        if 4 * (self._pieces + len(rows)) > _MOST or 4 * (self._nodes + len(slots)) > _MOST:
            raise BudgetExceeded(
                f"the map has more than {_MOST // 4:,} corners of components, which is noise; "
                "smooth it or remove small objects first, or give a part of it"
            )
        for ends in (slots, tops, bottoms):
            ends[ends >= 0] += 2 * self._pieces
        at = rows[:, 3:]
        at[at >= 0] += 4 * self._nodes
        across = tops >= 0
        self._pairs.append(np.stack([self._bottoms[across], tops[across]], axis=1))
        self._rows.append(rows)
        self._slots.append(slots)
        self._above, self._bottoms = ids[-1].copy(), bottoms
        self._line += len(band)
        self._pieces += len(rows)
        self._nodes += len(slots)

    def joined(self) -> Arcs:
        """Return the whole arcs."""
        rows, slots = np.concatenate(self._rows), np.concatenate(self._slots)
        self._rows, self._slots = [], []
        counts = rows[:, 0].astype(np.int64)
        starts = np.cumsum(counts) - counts
        made = join(self.spill, starts, rows, np.concatenate(self._pairs))
        for end in (0, 1):
            at = made.rows[:, 3 + end]
            arcs = np.arange(len(at)) + len(rows)
            there = at >= 0
            slots[at[there] >> 2, at[there] & 3] = 2 * arcs[there] + end
        rows[made.pieces, 1:3] = -1
        return Arcs(
            np.concatenate([starts, made.starts]),
            np.concatenate([rows, made.rows]),
            slots,
            self.spill,
        )
