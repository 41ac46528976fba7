"""Arcs some at a time: so many corners of them, or those that come into a strip of the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._arcs import Arcs
from ._spill import Ints, Places

#: Corners that are looked at at a time.
_BATCH = 1 << 20
#: Kept corners in a cell of the index, about.
_CROWD = 4


def batches_of(arcs: Arcs, which: Ints) -> list[Ints]:
    """Return some arcs a few at a time, in order, by their corners."""
    reached = np.cumsum(arcs.rows[which, 0], dtype=np.int64) // _BATCH
    parts = np.split(which, np.flatnonzero(np.diff(reached)) + 1)
    return [part for part in parts if len(part)]


def corners_of(arcs: Arcs, which: Ints) -> tuple[Places, Ints]:
    """Return the corners of some arcs, (n, 2), and the first of each, and their number."""
    return arcs.corners(which), firsts_of(arcs.rows[which, 0])


def firsts_of(counts: NDArray[np.integer]) -> Ints:
    """Return the first of every list of some length, and the end of the last."""
    firsts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=firsts[1:])
    return firsts


def spans_of(corners: Places, begins: Ints) -> Places:
    """Return the first and the last line of lists of corners, (n, 2).

    Args:
        corners: x and y, one list after the other.
        begins: First corner of every list.
    """
    lows = np.minimum.reduceat(corners[:, 1], begins)
    return np.stack([lows, np.maximum.reduceat(corners[:, 1], begins)], axis=-1)


@dataclass(frozen=True)
class Strips:
    """Strips of the map, and the arcs that come into each.

    Args:
        deep: Lines of a strip.
        firsts: First arc of every strip, and their number.
        held: The arcs, strip by strip, ascending in each.
    """

    deep: int
    firsts: Ints
    held: Ints

    @classmethod
    def of(cls, arcs: Ints, spans: Places, corners: int) -> Strips:
        """Return strips of a batch's corners each.

        Args:
            arcs: The arcs, ascending.
            spans: First and last line of each.
            corners: Of all of them.
        """
        lines = int(spans.max(initial=0)) + 1
        deep = max(1, min(lines, _BATCH * lines // max(1, corners)))
        top, bottom = (spans // deep).T.astype(np.int64)
        many = bottom - top + 1
        ends = np.cumsum(many)
        strips = np.repeat(top - ends + many, many) + np.arange(many.sum())
        held = np.repeat(arcs, many)[np.argsort(strips, kind="stable")]
        counts = np.bincount(strips, minlength=1)
        return cls(deep, np.concatenate([[0], np.cumsum(counts)]), held)

    def arcs(self, strip: int) -> Ints:
        """Return the arcs of a strip."""
        return self.held[self.firsts[strip] : self.firsts[strip + 1]]

    def touched(self, changed: NDArray[np.bool_]) -> list[int]:
        """Return the strips into which arcs come that have changed."""
        reached = np.concatenate([[0], np.cumsum(changed[self.held])])
        counts = np.diff(reached[self.firsts])
        strips: list[int] = np.flatnonzero(counts).tolist()
        return strips

    def frame(self, strip: int, full: Places, sides: int) -> Ints:
        """Return the frame of an index of the sides in a strip; see `conflicts`.

        Args:
            strip: The strip.
            full: All corners of its arcs.
            sides: How many sides there are.
        """
        first, last = strip * self.deep, (strip + 1) * self.deep - 1
        x, across = int(full[:, 0].min()), int(np.ptp(full[:, 0])) + 1
        top, bottom = max(first, int(full[:, 1].min())), min(last, int(full[:, 1].max()))
        down = bottom - top + 1
        size = max(1, int((across * down * _CROWD / max(1, sides)) ** 0.5))
        return np.array([size, x, top, -(-across // size), -(-down // size)], np.int64)
