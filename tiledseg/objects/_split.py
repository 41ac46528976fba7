"""Components cut into parts, each on its own, whatever blocks the map is read in.

A watershed floods from all seeds at once, so it is not computed by blocks: every component is read
as a whole (its box), split, and its parts kept on disk until the map is written. One whose box has
no room in memory is left whole, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..box import Box
from ..components import (
    NODATA,
    Amounts,
    Components,
    Pieces,
    Table,
    read_labels,
    read_scores,
    table_of,
)
from ..errors import BudgetExceeded
from ..io import Scratch, Source

Ints = NDArray[np.int64]
OnShare = Callable[[float], None]
#: Tables of a few rows that are kept apart; an array takes a hundred bytes however short it is.
_JOINED = 1024
#: Strips of rows that components may reach over and be read together.
_STRIPS = 2


@dataclass(frozen=True)
class Cut:
    """How components are split.

    Args:
        depth: By how much a peak must rise above the pass to a higher one, above 0.
        spacing: Distance between samples per axis; of distances.
        heights: Heights of one channel instead of distances to the outside, on the map's grid;
            what was not measured there is as low as the component's lowest sample.
        falls: Whether objects are where heights are low: a channel of boundaries.
        most: Samples of the largest box that is split.
        rows: Components and parts that there may be.
    """

    depth: float
    spacing: tuple[float, ...]
    heights: Source | None = None
    falls: bool = False
    most: int = 1 << 24
    rows: int = 1 << 62


@dataclass(frozen=True)
class Split:
    """Components, some of them in parts; see `Found`.

    Args:
        table: What is known of every whole component and every part, by ascending key.
        unit: What an amount of 1 in the table stands for.
        left: Places in the components' table of those that had no room.
        found: The components.
        rows: Row of every component, -1 where it is in parts.
        parts: Rows of all parts, one component's after the other's.
        pieces: Of every component in parts: its place, its first part, where it begins on disk.
        scratch: Holds the parts.
    """

    table: Table
    unit: float
    left: Ints
    found: Components = field(repr=False)
    rows: Ints = field(repr=False)
    parts: Ints = field(repr=False)
    pieces: Ints = field(repr=False)
    scratch: Scratch = field(repr=False)

    def rewritten(self, values: Ints, nodata: int) -> Iterator[tuple[Box, Ints]]:
        """Yield the map's blocks with a value for every row of the table."""
        whole = np.where(self.rows < 0, nodata, np.append(values, nodata)[self.rows])
        own, before = values[self.parts], self.found.table
        low, high = before.low[self.pieces[:, 0]], before.high[self.pieces[:, 0]]
        for box, block in self.found.rewritten(whole, nodata):
            touched = (low < box.stop).all(axis=1) & (high > box.start).all(axis=1)
            for i in np.flatnonzero(touched):
                _, first, begin = self.pieces[i].tolist()
                there = Box(tuple(low[i].tolist()), tuple(high[i].tolist()))
                both = there.intersect(box)
                at = both.relative_to(there)
                rows, across = both.shape[0], there.size // there.shape[0]
                held = self.scratch.read(begin + 4 * across * at.start[0], rows * across, np.int32)
                parts = held.reshape(rows, *there.shape[1:])[(slice(None), *at.slices[1:])]
                target, inside = block[both.relative_to(box).slices], parts > 0
                target[inside] = own[first + parts[inside] - 1]
            yield box, block


def split_components(
    found: Components,
    chosen: NDArray[np.bool_],
    cut: Cut,
    scratch: Scratch,
    measured: tuple[Amounts, Source | None],
    on_share: OnShare | None = None,
) -> Split:
    """Split components by watershed.

    Args:
        found: The components.
        chosen: Which of them are split.
        cut: How.
        scratch: Where parts wait; it stays open as long as the result is used.
        measured: Amounts of the map's rows, and scores of 0 to 1 on its grid or None.
        on_share: Told the share that is done, 0 to 1.

    Raises:
        MissingBackend: scikit-image is not installed.
        GridMismatch: The heights lie elsewhere.
        DamagedInput: The map, heights or scores cannot be read.
        OutputFailed: There is no room for the parts.
        BudgetExceeded: There are more of them than there may be.
    """
    table = found.table
    if cut.heights is not None:
        found.source.grid.require_like(cut.heights.grid, f"heights {cut.heights.uri}")
    boxes = (table.high - table.low).prod(axis=1)
    roomy = boxes <= cut.most
    work = np.flatnonzero(chosen & roomy & (table.sizes > 1))
    tables: list[Table] = []
    pieces: list[tuple[int, int, int]] = []
    done, first, total = 0, 0, max(1, int(boxes[work].sum()))
    for place, parts, own in _cut_all(found, work, cut, measured):
        done += int(boxes[place])
        if parts is not None and own is not None:
            pieces.append((place, first, scratch.append(parts)))
            tables.append(own)
            first += len(own)
            if len(tables) == _JOINED:
                tables = [Table.joined(tables)]
            _require_few(len(table) + first, cut, done / total)
        if on_share is not None:
            on_share(done / total)
    whole = np.ones(len(table), np.bool_)
    whole[[place for place, _, _ in pieces]] = False
    joined = Table.joined([table.where(whole), *tables])
    order = np.argsort(joined.keys)
    places = np.empty(len(joined), np.int64)
    places[order] = np.arange(len(joined))
    rows = np.full(len(table), -1, np.int64)
    rows[whole] = places[: int(whole.sum())]
    left = np.flatnonzero(chosen & ~roomy)
    at = np.array(pieces, np.int64).reshape(-1, 3)
    return Split(
        joined.where(order), found.unit, left, found, rows, places[int(whole.sum()) :], at, scratch
    )


def _require_few(rows: int, cut: Cut, share: float) -> None:
    if rows > cut.rows:
        raise BudgetExceeded(
            f"after {share:.0%} of the objects there are {rows:,} and parts of them, and memory "
            f"for {cut.rows:,}: raise the memory, or the depth of the split"
        )


def _cut_all(
    found: Components, work: Ints, cut: Cut, measured: tuple[Amounts, Source | None]
) -> Iterator[tuple[int, NDArray[np.int32] | None, Table | None]]:
    """Yield components with their parts, and what is known of those."""
    table, shape = found.table, found.source.grid.shape
    across = max(1, found.source.grid.box.size // shape[0])
    deep = min(found.boxes[0].shape[0], cut.most // (2 * _STRIPS * across))
    for window, places in _windows(table, work, deep):
        read = _Read.of(found.source, window, cut, measured[1])
        for place in places.tolist():
            box = Box(tuple(table.low[place].tolist()), tuple(table.high[place].tolist()))
            key = np.array(np.unravel_index(table.keys[place], shape)) - box.start
            at = box.relative_to(window).slices
            label = int(table.labels[place])
            mask = _one(read.labels[at] == label, tuple(key.tolist()), found.rank)
            parts = _parts(
                mask, None if read.heights is None else read.heights[at], cut, found.rank
            )
            if parts is None:
                yield place, None, None
                continue
            labels = np.where(mask, label, NODATA).astype(np.int32)
            scores = None if read.scores is None else read.scores[at]
            own = _table(labels, parts, (box.start, shape), (measured[0], scores), found.rank)
            yield place, parts, own


def _windows(table: Table, work: Ints, deep: int) -> Iterator[tuple[Box, Ints]]:
    """Yield boxes that hold some components each: many of few rows, or one of many.

    Args:
        table: The components.
        work: Those that are split.
        deep: Rows of a strip; a box has those of `_STRIPS` at most. 0: each has its own box.
    """
    strips = table.low[work, 0] // max(deep, 1)
    small = table.high[work, 0] <= (strips + _STRIPS) * deep
    for place in work[~small].tolist():
        yield _around(table, np.array([place]))
    order = np.argsort(strips[small], kind="stable")
    places, strips = work[small][order], strips[small][order]
    for some in np.split(places, np.flatnonzero(np.diff(strips)) + 1):
        if len(some):
            yield _around(table, some)


def _around(table: Table, places: Ints) -> tuple[Box, Ints]:
    low, high = table.low[places].min(axis=0), table.high[places].max(axis=0)
    return Box(tuple(low.tolist()), tuple(high.tolist())), places


@dataclass(frozen=True)
class _Read:
    """What is known of a window's samples."""

    labels: NDArray[np.int32]
    heights: NDArray[np.float64] | None
    scores: Ints | None

    @classmethod
    def of(cls, source: Source, window: Box, cut: Cut, scores: Source | None) -> _Read:
        """Read a window."""
        heights = None
        if cut.heights is not None:
            heights = cut.heights.read(window)[0].astype(np.float64)
            heights[~cut.heights.valid(window) | ~np.isfinite(heights)] = np.nan
            if cut.falls:
                heights = -heights
        parts = None if scores is None else read_scores(scores, window)
        return cls(read_labels(source, window), heights, parts)


def _one(same: NDArray[np.bool_], key: tuple[int, ...], rank: int) -> NDArray[np.bool_]:
    """Return the component that holds a sample, of all of its label in its box."""
    near = ndimage.generate_binary_structure(same.ndim, rank)
    pieces, count = ndimage.label(same, near)
    return np.asarray(same if count == 1 else pieces == pieces[key])


def _parts(
    mask: NDArray[np.bool_], heights: NDArray[np.float64] | None, cut: Cut, rank: int
) -> NDArray[np.int32] | None:
    from ._watershed import distances, parts_of  # needs an extra

    if heights is None:
        return parts_of(mask, distances(mask, cut.spacing), cut.depth, rank)
    own = heights[mask]
    if np.isnan(own).all():
        return None
    return parts_of(mask, np.where(np.isnan(heights), np.nanmin(own), heights), cut.depth, rank)


def _table(
    labels: NDArray[np.int32],
    parts: NDArray[np.int32],
    place: tuple[tuple[int, ...], tuple[int, ...]],
    measured: tuple[Amounts, Ints | None],
    rank: int,
) -> Table:
    """Return what is known of the parts of a component."""
    count = int(parts.max())
    block = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
    pieces = Pieces(block, (parts - 1).ravel(), count, rank)
    return table_of(pieces, place, *measured, np.zeros(count, np.bool_))
