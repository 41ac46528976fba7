"""Outlines of chosen components with right angles, which neighbours go on sharing.

Every component that is chosen has a direction, the one that most of its sides lead in or across. An
arc of its border becomes walls along and across that, where the arc runs on average; an arc between
two of them, those of the one whose direction is clearer. Ends of arcs stay, so a wall that leads to
a node goes through it, and an arc that is one wall between two nodes is the line between them. An
arc along the edge of the map stays.

A component stays as it was where its new outline has less in common with it than `LEAST`, or where
a wall would meet another arc, or come to its other side. Then all of its arcs stay, those that it
shares with others, too. All are looked at at once, again and again until none is left to go back:
so there is no order, and the coverage is valid where that of the given arcs is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io import Entry
from ._arcs import Arcs
from ._batches import Strips, batches_of, corners_of, firsts_of, spans_of
from ._cross import conflicts
from ._fan import below, fanned
from ._spill import Ints, Places, read_corners, starts_in
from ._walls import FRAME, Floats, fitted, leanings

Mask = NDArray[np.bool_]

#: Parts of a sample that corners are told in: walls of ten are right to a tenth of a degree.
FINE = 64
#: Intersection over union with the given outline that a component has at least, or it stays.
LEAST = 0.8
#: Samples that a corner lies from a side at most, and those of the shortest wall.
_APART, _WALL = 1.0, 2.0


def regularize(arcs: Arcs, parts: int, chosen: Mask, metrics: Floats, columns: int) -> Arcs:
    """Return arcs with right angles around some components, corners in `FINE` parts of a sample.

    Args:
        arcs: The arcs, smoothed and simplified or not; their ledger does the work.
        parts: Parts of a sample that their corners are told in.
        chosen: Whether a component is to have right angles.
        metrics: e, f and g of every line between rows, (rows + 1, 3): a step of (dx, dy) samples is
            sqrt(e dx^2 + 2 f dx dy + g dy^2) long on the ground.
        columns: Samples in a row; no wall leaves the map.

    Raises:
        OutputFailed: The ledger's folder has no room.
    """
    walled = _Walled(_finer(arcs, FINE // parts), chosen, metrics)
    walled.fit((FINE * columns, FINE * (len(metrics) - 1)))
    changed = walled.regular.copy()
    walled.drop(walled.unlike())
    while changed.any():
        changed = walled.drop(walled.blamed(changed))
        changed |= walled.drop(walled.unlike())
    return walled.arcs


@dataclass
class _Sums:
    """What is known of arcs with walls.

    Args:
        made: They, with no corners where there are no walls.
        bases: Place of what the first of every arc's corners stands for.
        areas: Twice the area below an arc, below its walls, and between them, at most; (n, 3).
    """

    made: Arcs
    bases: Ints
    areas: Ints


class _Walled:
    """Arcs that get right angles."""

    def __init__(self, plain: tuple[Arcs, Places], chosen: Mask, metrics: Floats) -> None:
        arcs, self._spans = plain
        self._plain, self._ledger, self._metrics = arcs, arcs.ledger, metrics
        self._sides = np.where(arcs.rows[:, 1:3] >= 0, arcs.rows[:, 1:3], len(chosen))
        self._stands = np.append(chosen, False)
        self._there = arcs.there
        self._near = np.flatnonzero(self._stands[self._sides].any(axis=1))
        nothing = replace(arcs, starts=np.zeros(len(arcs), np.int64), rows=arcs.rows.copy())
        nothing.rows[:, 0] = 0
        bases, areas = np.zeros(len(arcs), np.int64), np.zeros((len(arcs), 3), np.int64)
        self._sums = _Sums(nothing, bases, areas)
        self._strips = Strips(0, np.zeros(1, np.int64), np.zeros(0, np.int64))

    @property
    def regular(self) -> Mask:
        """Which arcs have walls: those of which all that is chosen beside them stands."""
        with_walls: Mask = self._sums.made.rows[:, 0] > 0
        return with_walls

    @property
    def arcs(self) -> Arcs:
        """The arcs as they are."""
        made, regular = self._sums.made, self.regular
        rows = np.where(regular[:, np.newaxis], made.rows, self._plain.rows)
        starts = np.where(regular, made.starts, self._plain.starts)
        return replace(self._plain, starts=starts, rows=rows)

    def fit(self, most: tuple[int, int]) -> None:
        """Make walls of every arc around what is chosen.

        Args:
            most: Largest x and y on the map.
        """
        frames, sides, owners = self._directed()

        def step(which: Ints) -> tuple[NDArray[Any], ...]:
            coords, firsts = corners_of(self._plain, which)
            side = sides[owners[which]]
            limits = np.stack([(_APART * side) ** 2, _WALL * side], axis=-1)
            rings = self._plain.rows[which, 3] < 0
            made = fitted(coords, firsts, rings, frames[owners[which]], limits, most)
            full, ends, belong, between = fanned(coords, firsts, made)
            areas = [below(coords, firsts), below(made[0], firsts_of(made[1])), between]
            begins = ends[np.searchsorted(belong, np.arange(len(which))), 0]
            return *made, np.stack(areas, axis=-1), spans_of(full, begins)

        batches = batches_of(self._plain, self._near)
        for which, entry in zip(batches, self._ledger.steps(step, batches), strict=True):
            self._take(which, entry)
        corners = int(self._plain.rows[self._there, 0].sum(dtype=np.int64))
        self._strips = Strips.of(self._there, self._spans[self._there], corners)

    def _take(self, which: Ints, entry: Entry) -> None:
        """Take over what was fitted to some arcs."""
        self._sums.made.starts[which] = starts_in(entry, 0, entry[1])
        self._sums.made.rows[which, 0] = entry[1]
        self._sums.bases[which] = starts_in(entry, 2, entry[1])
        self._sums.areas[which], self._spans[which] = entry[3], entry[4]

    def _directed(self) -> tuple[Floats, Floats, Ints]:
        """Return the frame of every component, its samples' longer side, and every arc's owner."""
        count = len(self._stands)
        sums = np.zeros((count, 2), np.int64)
        lines = np.full(count, FINE * (len(self._metrics) - 1), np.int64)

        def step(which: Ints) -> tuple[NDArray[Any], ...]:
            coords, firsts = corners_of(self._plain, which)
            tops = np.minimum.reduceat(coords[:, 1], firsts[:-1]).astype(np.int64)
            frames, sides = self._frames(tops)
            return leanings(coords, firsts, frames, (_APART * sides) ** 2), tops

        batches = batches_of(self._plain, self._near)
        for which, entry in zip(batches, self._ledger.steps(step, batches), strict=True):
            for side in range(2):
                np.add.at(sums, self._sides[which, side], entry[0])
                np.minimum.at(lines, self._sides[which, side], entry[1])
        clear = np.where(self._stands, (sums.astype(np.float64) ** 2).sum(axis=1), -1)
        one, other = self._sides.T
        first = (clear[one] > clear[other]) | ((clear[one] == clear[other]) & (one < other))
        frames, sides = self._frames(lines)
        angles = np.arctan2(sums[:, 1], sums[:, 0]) / 4
        frames[:, 3], frames[:, 4] = np.cos(angles), np.sin(angles)
        return frames, sides, np.where(first, one, other)

    def _frames(self, lines: Ints) -> tuple[Floats, Floats]:
        """Return frames at some lines, without a direction, and the longer side of samples."""
        e, f, g = self._metrics[lines // FINE].T
        frames = np.zeros((len(lines), FRAME))
        frames[:, 0] = np.sqrt(e)
        frames[:, 1] = f / frames[:, 0]
        frames[:, 2] = np.sqrt(g - frames[:, 1] ** 2)
        return frames / FINE, np.sqrt(np.maximum(e, g))

    def unlike(self) -> Ints:
        """Return the components that have too little in common with what they were."""
        sums = np.zeros((len(self._stands), 3), np.int64)
        which = self._near
        areas, regular = self._sums.areas[which], self.regular[which]
        told = np.stack(
            [areas[:, 0], np.where(regular, areas[:, 1], areas[:, 0]), regular * areas[:, 2]], -1
        )
        for side, sign in enumerate((1, -1)):
            signed = told * np.array([sign, sign, 1])
            np.add.at(sums, self._sides[which, side], signed)
        before, after, apart = np.abs(sums).astype(np.float64).T
        low = before + after - apart < LEAST * (before + after + apart)
        unlike: Ints = np.flatnonzero(low & self._stands)
        return unlike

    def drop(self, components: Ints) -> Mask:
        """Let components stay as they were, and return which arcs have changed."""
        self._stands[components] = False
        fallen = np.zeros(len(self._stands), np.bool_)
        fallen[components] = True
        changed: Mask = fallen[self._sides].any(axis=1) & self.regular
        self._sums.made.rows[changed, 0] = 0
        return changed

    def blamed(self, changed: Mask) -> Ints:
        """Return the components beside walls that are in conflict."""

        def look(strip: int) -> tuple[Ints]:
            return (self._blamed(strip, changed),)

        strips = self._strips.touched(changed)
        found = [np.zeros(0, np.int64), *(e[0] for e in self._ledger.steps(look, strips))]
        sides = np.unique(self._sides[np.concatenate(found)])
        standing: Ints = sides[self._stands[sides]]
        return standing

    def _blamed(self, strip: int, changed: Mask) -> Ints:
        """Return the arcs in a strip of the map whose walls are in conflict."""
        which, sums = self._strips.arcs(strip), self._sums
        counts = sums.made.rows[which, 0].astype(np.int64)
        bases = read_corners(self._ledger, sums.bases[which], counts)
        coords, firsts = corners_of(self._plain, which)
        full, sides, owners, _ = fanned(coords, firsts, (sums.made.corners(which), counts, bases))
        blamed = np.zeros(len(sides), np.bool_)
        frame = self._strips.frame(strip, full, len(sides))
        conflicts(full, sides, changed[which][owners], frame, blamed)
        blamed |= _shared(full[sides], owners, self._plain.rows[which, 3] < 0) & (
            counts[owners] > 0
        )
        arcs: Ints = np.unique(which[owners[blamed]])
        return arcs


def _shared(ends: Places, owners: Ints, rings: Mask) -> Mask:
    """Return which sides begin at a corner that is another's, too: only nodes may be.

    Args:
        ends: First and last corner of every side, (n, 2, 2), along one arc after the other.
        owners: Its arc.
        rings: Which arcs are rings.
    """
    places = ends[..., 1].astype(np.int64) << 32 | ends[..., 0].astype(np.int64)
    others = owners[1:] != owners[:-1]
    first, last = np.append(True, others), np.append(others, True)
    inner = rings[owners] | ~first
    nodes = np.concatenate([places[~inner, 0], places[last & ~rings[owners], 1]])
    _, number, many = np.unique(places[inner, 0], return_inverse=True, return_counts=True)
    shared = np.zeros(len(owners), np.bool_)
    shared[inner] = (many[number] > 1) | np.isin(places[inner, 0], nodes)
    return shared


def _finer(arcs: Arcs, factor: int) -> tuple[Arcs, Places]:
    """Return arcs as they are, in finer units, and the first and last line of every one."""

    def step(which: Ints) -> tuple[NDArray[Any], ...]:
        coords, firsts = corners_of(arcs, which)
        return coords * np.int32(factor), spans_of(coords, firsts[:-1]) * np.int32(factor)

    starts, spans = np.zeros(len(arcs), np.int64), np.zeros((len(arcs), 2), np.int32)
    batches = batches_of(arcs, arcs.there)
    for which, entry in zip(batches, arcs.ledger.steps(step, batches), strict=True):
        starts[which] = starts_in(entry, 0, arcs.rows[which, 0])
        spans[which] = entry[1]
    return replace(arcs, starts=starts), spans
