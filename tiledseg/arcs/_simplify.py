"""Arcs with fewer corners, which neighbours go on sharing: out of core, no gaps, no overlaps.

Every arc is thinned once, between fixed ends. Then sides that are in conflict get back the corner
that is farthest from them, all at once, again and again until none is (the repair of mapshaper,
made free of any order). Where all corners are back there is no conflict, so it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io import Entry
from ._arcs import Arcs
from ._batches import Strips, batches_of, corners_of, spans_of
from ._cross import conflicts, kept_places, put_back
from ._spill import Ints, Places, starts_in
from ._thin import thinned


@dataclass(frozen=True)
class Thinning:
    """How arcs are thinned.

    Args:
        metric: e, f and g: a step of (dx, dy) samples is sqrt(e dx^2 + 2 f dx dy + g dy^2) long.
        tolerance: In the unit of these lengths. Corners are left out whose triangle with their
            neighbours is smaller than its square, or that lie no farther than it from the line that
            is left.
        by_area: The former (Visvalingam), else the latter (Douglas-Peucker).
    """

    metric: tuple[float, float, float]
    tolerance: float
    by_area: bool = True

    @property
    def limits(self) -> tuple[float, float]:
        """Twice the least area, in samples, and the squared distance; that not used is -1."""
        e, f, g = self.metric
        squared = self.tolerance * self.tolerance  # infinite where a power would be refused
        if self.by_area:
            return 2 * squared / (e * g - f * f) ** 0.5, -1.0
        return -1.0, squared


def simplify(arcs: Arcs, thinning: Thinning) -> Arcs:
    """Return arcs with fewer corners.

    Args:
        arcs: The arcs; their ledger does the work, several batches at a time.
        thinning: What may be left out.

    Raises:
        OutputFailed: The ledger's folder has no room.
    """
    thin = _Thin(arcs)
    thin.first(thinning)
    changed = np.ones(len(arcs), np.bool_)
    while changed.any():
        changed = thin.repaired(changed)
    return thin.arcs


class _Thin:
    """Arcs that are being simplified."""

    def __init__(self, arcs: Arcs) -> None:
        self._full, self._ledger = arcs, arcs.ledger
        self.arcs = replace(arcs, starts=np.zeros(len(arcs), np.int64), rows=arcs.rows.copy())
        self._strips = Strips(0, np.zeros(1, np.int64), np.zeros(0, np.int64))

    def first(self, thinning: Thinning) -> None:
        """Thin every arc."""

        def step(which: Ints) -> tuple[NDArray[Any], ...]:
            coords, firsts = corners_of(self._full, which)
            keep = np.empty(len(coords), np.bool_)
            thinned(coords, firsts, thinning.metric, thinning.limits, keep)
            counts = np.add.reduceat(keep, firsts[:-1], dtype=np.int64)
            return coords[keep], counts, *spans_of(coords, firsts[:-1]).T

        there, spans = self._full.there, np.zeros((len(self._full), 2), np.int32)
        batches = batches_of(self._full, there)
        for which, entry in zip(batches, self._ledger.steps(step, batches), strict=True):
            self._store(which, entry)
            spans[which, 0], spans[which, 1] = entry[2], entry[3]
        corners = int(self._full.rows[there, 0].sum(dtype=np.int64))
        self._strips = Strips.of(there, spans[there], corners)

    def repaired(self, changed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Put corners back once, and return which arcs have changed."""

        def look(strip: int) -> tuple[Ints]:
            return (self._blamed(strip, changed),)

        strips = self._strips.touched(changed)
        found = [np.zeros((0, 2), np.int64), *(e[0] for e in self._ledger.steps(look, strips))]
        blamed = np.unique(np.concatenate(found), axis=0)
        again = np.zeros(len(changed), np.bool_)
        again[blamed[:, 0]] = True

        def put(which: Ints) -> tuple[Places, Ints]:
            return self._put_back(which, blamed)

        batches = batches_of(self._full, np.flatnonzero(again))
        for which, entry in zip(batches, self._ledger.steps(put, batches), strict=True):
            self._store(which, entry)
        return again

    def _put_back(self, which: Ints, blamed: Ints) -> tuple[Places, Ints]:
        full, firsts, places, thins = self._both(which)
        low, high = np.searchsorted(blamed[:, 0], [which[0], which[-1] + 1])
        own = blamed[low:high]
        marks = np.zeros(len(places), np.bool_)
        marks[thins[np.searchsorted(which, own[:, 0])] + own[:, 1]] = True
        made: tuple[Places, Ints] = put_back(full, firsts, (places, thins), marks)
        return made

    def _blamed(self, strip: int, changed: NDArray[np.bool_]) -> Ints:
        """Return the sides to blame in a strip of the map: arc, and number along it."""
        which = self._strips.arcs(strip)
        full, _, places, thins = self._both(which)
        begins = np.ones(len(places), np.bool_)
        begins[thins[1:] - 1] = False  # the last corner of an arc begins no side
        begin = np.flatnonzero(begins)
        sides = np.stack([places[begin], places[begin + 1]], axis=1)
        owners = np.repeat(np.arange(len(which)), np.diff(thins))[begin]
        blamed = np.zeros(len(sides), np.bool_)
        frame = self._strips.frame(strip, full, len(sides))
        conflicts(full, sides, changed[which][owners], frame, blamed)
        numbers = begin - thins[owners]
        return np.stack([which[owners[blamed]], numbers[blamed]], axis=1)

    def _both(self, which: Ints) -> tuple[Places, Ints, Ints, Ints]:
        """Return all corners of arcs, the first of each, the places of those kept, their first."""
        full, firsts = corners_of(self._full, which)
        thin, thins = corners_of(self.arcs, which)
        return full, firsts, kept_places(full, firsts, thin, thins), thins

    def _store(self, which: Ints, entry: Entry) -> None:
        """Take over the corners of some arcs, and how many each has: an entry's first two."""
        self.arcs.starts[which] = starts_in(entry, 0, entry[1])
        self.arcs.rows[which, 0] = entry[1]
