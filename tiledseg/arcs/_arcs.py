"""The borders of a map's components as arcs between nodes, whatever bands the map is read in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BudgetExceeded
from ..io import Entry, Ledger
from ._join import join
from ._spill import Ints, Places, read_corners, starts_in
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
        starts: Place of every arc's first corner in the ledger.
        rows: Corners, component left and right, start and end of every arc, (n, 5): an end is 4
            times a node, plus the heading that leads from it, below 0 for rings. An arc of -1 at
            both sides is none.
        slots: The arc that leads from every node in every heading, (nodes, 4): twice its number,
            plus 1 where it is walked backwards; -1 where there is none.
        ledger: Where the corners are, (x, y).
    """

    starts: Ints
    rows: Places
    slots: Places
    ledger: Ledger = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def there(self) -> Ints:
        """The arcs that are some, by number."""
        return np.flatnonzero((self.rows[:, 1:3] >= 0).any(axis=1))

    def corners(self, which: Ints) -> Places:
        """Return the corners of some arcs, one after the other, (n, 2): x and y."""
        counts = self.rows[which, 0].astype(np.int64)
        return read_corners(self.ledger, self.starts[which], counts)

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


def trace_arcs(
    framed: Callable[[int], Places],
    lines: list[int],
    ledger: Ledger,
    on_band: Callable[[int], None] | None = None,
) -> Arcs:
    """Trace the arcs of a map.

    Args:
        framed: Gives the component of every sample in a band, -1 where there is none, by the
            band's number, (rows + 1, columns + 2): the row above first, a column of -1 at both
            sides. Beyond the last band, a row of -1 follows its last row. The result does not
            depend on how many rows a band has.
        lines: First row of every band, and the number of rows.
        ledger: What does the bands, and where there is room for the corners, 8 bytes each.
        on_band: Told the number of every band that is done.

    Raises:
        BudgetExceeded: There are more arcs or nodes than 32 bits can tell apart.
        OutputFailed: The folder has no room.
    """

    def step(band: int) -> tuple[NDArray[Any], ...]:
        ids = framed(band)
        bits = np.empty(ids.shape, np.uint8)
        edges, _, above = mark(ids, bits)
        made: tuple[NDArray[Any], ...] = trace(ids, bits, lines[band], (edges, above))
        return made

    gathered = _Gathered()
    for band, entry in enumerate(ledger.steps(step, range(len(lines)))):
        gathered.add(entry)
        if on_band is not None:
            on_band(band)
    return gathered.joined(ledger)


class _Gathered:
    """What bands add up to."""

    def __init__(self) -> None:
        self._bottoms = np.zeros(0, np.int32)
        self._starts: list[Ints] = [np.zeros(0, np.int64)]
        self._rows: list[Places] = [np.zeros((0, 5), np.int32)]
        self._slots: list[Places] = [np.zeros((0, 4), np.int32)]
        self._pairs: list[Places] = [np.zeros((0, 2), np.int32)]
        self._pieces = self._nodes = 0

    def add(self, entry: Entry) -> None:
        """Add a band: what `trace` gave."""
        rows, slots, tops, bottoms = (entry[k] for k in range(1, 5))
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
        if across.any():
            self._pairs.append(np.stack([self._bottoms[across], tops[across]], axis=1))
        self._starts.append(starts_in(entry, 0, rows[:, 0]))
        self._rows.append(rows)
        self._slots.append(slots)
        self._bottoms = bottoms
        self._pieces += len(rows)
        self._nodes += len(slots)

    def joined(self, ledger: Ledger) -> Arcs:
        """Return the whole arcs."""
        rows, slots = np.concatenate(self._rows), np.concatenate(self._slots)
        starts = np.concatenate(self._starts)
        self._rows, self._slots, self._starts = [], [], []
        made = join(ledger, starts, rows, np.concatenate(self._pairs))
        for end in (0, 1):
            at = made.rows[:, 3 + end]
            arcs = np.arange(len(at)) + len(rows)
            there = at >= 0
            slots[at[there] >> 2, at[there] & 3] = 2 * arcs[there] + end
        rows[made.pieces, 1:3] = -1
        starts, rows = np.concatenate([starts, made.starts]), np.concatenate([rows, made.rows])
        return Arcs(starts, rows, slots, ledger)
