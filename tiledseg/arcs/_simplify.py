"""Arcs with fewer corners, which neighbours go on sharing: out of core, no gaps, no overlaps.

Every arc is thinned once, between fixed ends. Then sides that are in conflict get back the corner
that is farthest from them, all at once, again and again until none is (the repair of mapshaper,
made free of any order). Where all corners are back there is no conflict, so it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._arcs import Arcs
from ._cross import conflicts, kept_places, put_back
from ._spill import Ints, Places, Spill
from ._thin import thinned

#: Corners that are looked at at a time.
_BATCH = 1 << 20
#: Kept corners in a cell of the index, about.
_CROWD = 4


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
        if self.by_area:
            return 2 * self.tolerance**2 / (e * g - f * f) ** 0.5, -1.0
        return -1.0, self.tolerance**2


def simplify(arcs: Arcs, thinning: Thinning, folder: Path) -> Arcs:
    """Return arcs with fewer corners.

    Args:
        arcs: The arcs, which go on being needed until this returns.
        thinning: What may be left out.
        folder: Where there is room for the corners.

    Raises:
        OutputFailed: The folder has no room.
    """
    thin = _Thin(arcs, Spill(folder))
    try:
        thin.first(thinning)
        changed = np.ones(len(arcs), np.bool_)
        while changed.any():
            changed = thin.repaired(changed)
        return thin.arcs
    except BaseException:
        thin.arcs.spill.close()
        raise


class _Thin:
    """Arcs that are being simplified."""

    def __init__(self, arcs: Arcs, spill: Spill) -> None:
        self._full = arcs
        self.arcs = replace(
            arcs, starts=np.zeros(len(arcs), np.int64), rows=arcs.rows.copy(), spill=spill
        )
        self._there = np.flatnonzero((arcs.rows[:, 1:3] >= 0).any(axis=1))
        self._spans = np.zeros((len(arcs), 2), np.int32)

    def first(self, thinning: Thinning) -> None:
        """Thin every arc."""
        for which in self._batches(self._there):
            coords, firsts = self._corners(self._full, which)
            keep = np.empty(len(coords), np.bool_)
            thinned(coords, firsts, thinning.metric, thinning.limits, keep)
            self._store(which, coords[keep], np.add.reduceat(keep, firsts[:-1], dtype=np.int64))
            self._spans[which, 0] = np.minimum.reduceat(coords[:, 1], firsts[:-1])
            self._spans[which, 1] = np.maximum.reduceat(coords[:, 1], firsts[:-1])

    def repaired(self, changed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Put corners back once, and return which arcs have changed."""
        found = [np.zeros((0, 2), np.int64)]
        found += [self._blamed(lines, changed) for lines in self._strips(changed)]
        blamed = np.unique(np.concatenate(found), axis=0)
        again = np.zeros(len(changed), np.bool_)
        again[blamed[:, 0]] = True
        for which in self._batches(np.flatnonzero(again)):
            self._put_back(which, blamed)
        return again

    def _put_back(self, which: Ints, blamed: Ints) -> None:
        full, firsts, places, thins = self._both(which)
        made, counts = [], []
        for i, arc in enumerate(which.tolist()):
            low, high = np.searchsorted(blamed[:, 0], [arc, arc + 1])
            own = places[thins[i] : thins[i + 1]] - firsts[i]
            marks = np.zeros(len(own), np.bool_)
            marks[blamed[low:high, 1]] = True
            corners = full[firsts[i] : firsts[i + 1]]
            made.append(corners[put_back(corners, own, marks)])
            counts.append(len(made[-1]))
        self._store(which, np.concatenate(made), np.array(counts, np.int64))

    def _blamed(self, lines: tuple[int, int], changed: NDArray[np.bool_]) -> Ints:
        """Return the sides to blame in a strip of the map: arc, and number along it."""
        top, bottom = lines
        spans = self._spans[self._there]
        which = self._there[(spans[:, 0] <= bottom) & (spans[:, 1] >= top)]
        if not len(which):
            return np.zeros((0, 2), np.int64)
        full, _, places, thins = self._both(which)
        begins = np.ones(len(places), np.bool_)
        begins[thins[1:] - 1] = False  # the last corner of an arc begins no side
        begin = np.flatnonzero(begins)
        sides = np.stack([places[begin], places[begin + 1]], axis=1)
        owners = np.repeat(np.arange(len(which)), np.diff(thins))[begin]
        blamed = np.zeros(len(sides), np.bool_)
        frame = _frame(full, len(sides), lines)
        conflicts(full, sides, changed[which][owners], frame, blamed)
        numbers = begin - thins[owners]
        return np.stack([which[owners[blamed]], numbers[blamed]], axis=1)

    def _strips(self, changed: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """Yield first and last lines of strips that hold arcs that have changed."""
        lines = int(self._spans.max(initial=0)) + 1
        corners = int(self._full.rows[self._there, 0].sum(dtype=np.int64))
        deep = max(1, min(lines, _BATCH * lines // max(1, corners)))
        touched = np.zeros(lines // deep + 2, np.int64)
        spans = self._spans[np.flatnonzero(changed & (self._full.rows[:, 1:3] >= 0).any(axis=1))]
        np.add.at(touched, spans[:, 0] // deep, 1)
        np.add.at(touched, spans[:, 1] // deep + 1, -1)
        for strip in np.flatnonzero(np.cumsum(touched)[:-1] > 0).tolist():
            yield strip * deep, (strip + 1) * deep - 1

    def _both(self, which: Ints) -> tuple[Places, Ints, Ints, Ints]:
        """Return all corners of arcs, the first of each, the places of those kept, their first."""
        full, firsts = self._corners(self._full, which)
        thin, thins = self._corners(self.arcs, which)
        return full, firsts, kept_places(full, firsts, thin, thins), thins

    def _store(self, which: Ints, coords: Places, counts: Ints) -> None:
        first = self.arcs.spill.append(coords)
        self.arcs.starts[which] = first + np.cumsum(counts) - counts
        self.arcs.rows[which, 0] = counts

    def _batches(self, which: Ints) -> list[Ints]:
        reached = np.cumsum(self._full.rows[which, 0], dtype=np.int64)
        parts = np.split(which, np.flatnonzero(np.diff(reached // _BATCH)) + 1)
        return [part for part in parts if len(part)]

    @staticmethod
    def _corners(arcs: Arcs, which: Ints) -> tuple[Places, Ints]:
        firsts = np.zeros(len(which) + 1, np.int64)
        np.cumsum(arcs.rows[which, 0], out=firsts[1:])
        return arcs.corners(which), firsts


def _frame(full: Places, sides: int, lines: tuple[int, int]) -> Ints:
    """Return the frame of an index of some sides between two lines."""
    x, across = int(full[:, 0].min()), int(np.ptp(full[:, 0])) + 1
    top, bottom = max(lines[0], int(full[:, 1].min())), min(lines[1], int(full[:, 1].max()))
    down = bottom - top + 1
    size = max(1, int((across * down * _CROWD / max(1, sides)) ** 0.5))
    return np.array([size, x, top, -(-across // size), -(-down // size)], np.int64)
