"""The connected pieces of one block, all classes at once.

Rows are cut into runs of one label. Runs of neighbouring rows that touch are found by looking up
which runs lie at both ends of a run, one row further; so the work grows with the runs, and only the
cutting looks at every sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._connectivity import offsets
from ._union import Ints, groups_of

Labels = NDArray[np.int32]
#: Label of samples that were not measured.
NODATA = -1


@dataclass(frozen=True)
class Runs:
    """Rows of a block, cut where the label changes; the runs cover the block.

    Args:
        shape: Of the block.
        starts: First sample of every run, in the raveled block.
        lengths: Its samples.
        labels: Its label.
        index: Run of every sample of the raveled block.
    """

    shape: tuple[int, ...]
    starts: Ints
    lengths: Ints
    labels: Labels
    index: Labels

    @classmethod
    def of(cls, block: Labels) -> Runs:
        """Cut a block of labels, (y, x) or (z, y, x), `NODATA` where there is none."""
        flat = block.ravel()
        begins = np.empty(flat.shape, np.bool_)
        np.not_equal(flat[1:], flat[:-1], out=begins[1:])
        begins[:: block.shape[-1]] = True
        starts = np.flatnonzero(begins)
        lengths = np.diff(starts, append=flat.size)
        index = np.repeat(np.arange(len(starts), dtype=np.int32), lengths)
        return cls(block.shape, starts, lengths, flat[starts], index)

    def places(self) -> tuple[Ints, ...]:
        """Return the index of every run's first sample along every axis."""
        return tuple(np.unravel_index(self.starts, self.shape))


@dataclass(frozen=True)
class Touching:
    """Pairs of runs that touch.

    Args:
        one: Of every pair the later run.
        other: And the earlier one.
        sides: Sides of samples that they share; 0 where they touch at edges or corners only.
    """

    one: Ints
    other: Ints
    sides: Ints

    def where(self, chosen: NDArray[np.bool_]) -> Touching:
        """Return some of the pairs."""
        return Touching(self.one[chosen], self.other[chosen], self.sides[chosen])


def touching(runs: Runs, rank: int) -> Touching:
    """Return the runs that touch, of rows that lie apart along at most ``rank`` axes."""
    rows = len(runs.shape) - 1
    found = [_side_by_side(runs)]
    for step in offsets(rows, rank):
        if step < (0,) * rows:  # every pair once
            apart = sum(map(abs, step))
            found.append(_across(runs, step, int(apart < rank), apart == 1))
    return Touching(
        np.concatenate([f.one for f in found]),
        np.concatenate([f.other for f in found]),
        np.concatenate([f.sides for f in found]),
    )


def _side_by_side(runs: Runs) -> Touching:
    later = np.flatnonzero(runs.starts % runs.shape[-1])
    return Touching(later, later - 1, np.ones(len(later), np.int64))


def _across(runs: Runs, step: tuple[int, ...], reach: int, side: bool) -> Touching:
    """Return the pairs with rows that lie ``step`` away.

    Args:
        runs: The runs.
        step: Along every axis but the last; lies before the origin.
        reach: Samples beyond a run's ends that touch it, too: 0 or 1.
        side: Whether samples of such rows share a side.
    """
    *places, column = runs.places()
    inside = np.ones(len(column), np.bool_)
    for place, move, extent in zip(places, step, runs.shape[:-1], strict=True):
        if move:
            inside &= (place + move >= 0) & (place + move < extent)
    one = np.flatnonzero(inside)
    width, away = runs.shape[-1], 0
    for move, extent in zip(step, runs.shape[:-1], strict=True):
        away = away * extent + move
    start, length, column = runs.starts[one], runs.lengths[one], column[one]
    low = start + away * width - np.minimum(column, reach)
    beyond = np.minimum(width - column - length, reach)
    first = runs.index[low].astype(np.int64)
    last = runs.index[start + away * width + length - 1 + beyond]
    counts = last - first + 1
    one = np.repeat(one, counts)
    nth = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
    other = np.repeat(first, counts) + nth
    if not side:
        return Touching(one, other, np.zeros(len(one), np.int64))
    begin = np.maximum(runs.starts[one] + away * width, runs.starts[other])
    end = np.minimum(
        runs.starts[one] + away * width + runs.lengths[one],
        runs.starts[other] + runs.lengths[other],
    )
    return Touching(one, other, np.maximum(end - begin, 0))


@dataclass(frozen=True)
class Pieces:
    """The connected pieces of a block.

    Args:
        runs: The block, cut.
        count: Pieces.
        of_run: Piece of every run, -1 where nothing was measured.
        borders: Pairs of *pieces* of different labels that touch, not yet summed.
        beside_nodata: Pieces that touch what was not measured, each once or more often.
    """

    runs: Runs
    count: int
    of_run: Ints
    borders: Touching
    beside_nodata: Ints

    @classmethod
    def of(cls, block: Labels, rank: int) -> Pieces:
        """Find the pieces of a block, whose neighbours lie apart along ``rank`` axes at most."""
        runs = Runs.of(block)
        pairs = touching(runs, rank)
        one, other = runs.labels[pairs.one], runs.labels[pairs.other]
        same = pairs.where((one == other) & (one != NODATA))
        count, groups = groups_of(len(runs.starts), same.one, same.other)
        measured = runs.labels != NODATA
        used = np.zeros(count, np.bool_)
        used[groups[measured]] = True
        of_run = np.where(measured, (np.cumsum(used) - 1)[groups], -1)
        unlike = pairs.where(one != other)
        a, b = of_run[unlike.one], of_run[unlike.other]
        alone = (a < 0) | (b < 0)
        borders = Touching(a[~alone], b[~alone], unlike.sides[~alone])
        return cls(runs, int(used.sum()), of_run, borders, np.maximum(a, b)[alone])

    def dense(self) -> Ints:
        """Return the piece of every sample, -1 where nothing was measured."""
        return self.spread(self.of_run)

    def spread(self, values: NDArray[np.int64]) -> Ints:
        """Return a value per run as one per sample of the block."""
        return np.repeat(values, self.runs.lengths).reshape(self.runs.shape)
