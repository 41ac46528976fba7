"""Work store -> sinks, in one pass of whole rows, looking for seams on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..io import Sink, centred_picks
from ..tiling import TilePlan
from ._store import WorkStore


@dataclass(frozen=True)
class Assembled:
    """What the pass over the finished class map saw.

    Args:
        picks: The class map at the picks of `Source.overview`.
        seam: How much more often neighbours differ where the set of windows changes than
            elsewhere: 1.0 means seams cannot be seen. None where there is no seam, or no border.
    """

    picks: NDArray[Any]
    seam: float | None


def assemble(
    store: WorkStore,
    nodata: int,
    labels: Sink | None,
    scores: Sink | None,
    limit: int,
    go_on: Callable[[], None] | None = None,
) -> Assembled:
    """Copy the store into prepared sinks.

    Args:
        store: A store whose tiles are done, or lost (then nodata).
        nodata: Label of samples that were not measured.
        labels: Takes the class map as one band; None: it goes elsewhere.
        scores: Takes the scores, one band per channel, or None.
        limit: Most samples per axis of the returned picks.
        go_on: Called before every part; what it raises ends the pass.
    """
    plan = store.plan
    seams = _Seams(plan, nodata)
    wanted = [centred_picks(n, limit) for n in plan.output.shape]
    picked = []
    for box in _row_boxes(plan, store.chunk_rows):
        if go_on is not None:
            go_on()
        rows = store.labels(box)
        if labels is not None:
            labels.write(box, rows[np.newaxis])
        if scores is not None:
            scores.write(box, store.scores(box))
        seams.add(box, rows)
        inside = wanted[0][(wanted[0] >= box.start[0]) & (wanted[0] < box.stop[0])]
        picked.append(rows[np.ix_(inside - box.start[0], *wanted[1:])])
    return Assembled(np.concatenate(picked), seams.figure())


def _row_boxes(plan: TilePlan, rows: int) -> Iterator[Box]:
    extent = plan.output.shape[0]
    for row in range(0, extent, rows):
        yield plan.output.box.along(0, row, min(row + rows, extent))


@dataclass
class _Seams:
    """Counts, per line between two samples of an axis, pairs and pairs that differ."""

    plan: TilePlan
    nodata: int
    _last: NDArray[Any] | None = None
    _pairs: list[NDArray[np.int64]] = field(init=False)
    _changes: list[NDArray[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        self._pairs = [np.zeros(n, dtype=np.int64) for n in self.plan.output.shape]
        self._changes = [np.zeros(n, dtype=np.int64) for n in self.plan.output.shape]

    def add(self, box: Box, rows: NDArray[Any]) -> None:
        """Count the lines within these rows, and the one to the rows before."""
        first = box.start[0]
        if self._last is not None:
            self._compare(0, slice(first, first + 1), self._last, rows[:1])
        self._last = rows[-1:].copy()
        for axis in range(rows.ndim):
            before = np.moveaxis(rows, axis, 0)[:-1]
            after = np.moveaxis(rows, axis, 0)[1:]
            start = first if axis == 0 else 0
            lines = slice(start + 1, start + 1 + len(after))
            self._compare(axis, lines, before, after)

    def _compare(self, axis: int, lines: slice, before: NDArray[Any], after: NDArray[Any]) -> None:
        both = (before != self.nodata) & (after != self.nodata)
        others = tuple(range(1, both.ndim))
        self._pairs[axis][lines] += np.count_nonzero(both, axis=others)
        self._changes[axis][lines] += np.count_nonzero((before != after) & both, axis=others)

    def figure(self) -> float | None:
        """Return the rate of change on seams over the rate elsewhere."""
        on = np.zeros(2)
        off = np.zeros(2)
        for axis, (pairs, changes) in enumerate(zip(self._pairs, self._changes, strict=True)):
            at = np.zeros(len(pairs), dtype=bool)
            at[self.plan.seams(axis)] = True
            on += changes[at].sum(), pairs[at].sum()
            off += changes[~at].sum(), pairs[~at].sum()
        if not on[1] or not off[0]:
            return None
        return float((on[0] / on[1]) / (off[0] / off[1]))
