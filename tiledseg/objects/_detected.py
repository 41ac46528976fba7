"""Objects that a network finds window by window, joined to objects of the whole image.

Two finds of one class from windows that overlap are one object where they agree there: of their
samples in what the windows share, the common ones are at least a given part (intersection over
union). Where both lie wholly inside of what is shared they tell the same twice, and that of the
lower score is dropped; else the object is cut by a window, and is what they are together. Of
objects that cover a sample the one of the highest score has it. Nothing depends on the order of
windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..components import SCORE_PARTS, Amounts, Pieces, Table, block_boxes, groups_of, table_of
from ..errors import BudgetExceeded
from ..io import Scratch

Ints = NDArray[np.int64]
#: Bytes of a find beside its mask on disk: its row, and tables made of it; 700 were measured.
FIND_BYTES = 900


@dataclass(frozen=True)
class Find:
    """What a network finds in a window.

    Args:
        label: Its class.
        score: 0 to 1.
        box: Where it lies in the image; no larger than its samples need.
        mask: Its samples there.
    """

    label: int
    score: float
    box: Box
    mask: NDArray[np.bool_] = field(repr=False)


class Finds:
    """Finds of all windows; masks wait on disk.

    Args:
        shape: Of the image.
        scratch: Where masks wait; it stays open as long as the finds are used.
        most: Finds that there may be.
    """

    def __init__(self, shape: tuple[int, int], scratch: Scratch, most: int = 1 << 62) -> None:
        self.shape, self._scratch, self._most = shape, scratch, most
        self._rows: list[tuple[int, ...]] = []
        self._scores: list[float] = []

    def add(self, window: Box, finds: list[Find]) -> None:
        """Keep what was found in a window.

        Raises:
            OutputFailed: There is no room for masks.
            BudgetExceeded: There are more finds than there may be.
        """
        for find in finds:
            begin = self._scratch.append(np.packbits(find.mask))
            ends = (*find.box.start, *find.box.stop, *window.start, *window.stop)
            self._rows.append((find.label, begin, *ends))
            self._scores.append(find.score)
        if len(self._rows) > self._most:
            raise BudgetExceeded(
                f"there are {len(self._rows):,} objects in windows or more, and memory for "
                f"{self._most:,}: raise the memory, or the threshold of scores"
            )

    def joined(self, agree: float) -> Joined:
        """Return the objects of the whole image.

        Args:
            agree: Share that two finds of one object have in common, above 0.
        """
        rows = np.array(self._rows, np.int64).reshape(-1, 10)
        scores = np.array(self._scores, np.float64)
        # From the best on, by what does not depend on when a window's turn came.
        order = np.lexsort((*rows[:, :1:-1].T, rows[:, 0], -scores))
        rows, scores = rows[order], scores[order]
        masks = _Masks(rows, self.shape, self._scratch)
        pairs = [pair for pair in _pairs(rows) if masks.agree(*pair, agree)]
        one, other = np.array(pairs, np.int64).reshape(-1, 2).T
        _, groups = groups_of(len(rows), one, other)
        kept = np.ones(len(rows), np.bool_)
        for better, worse in sorted(pairs):
            if kept[better] and masks.whole(better, worse):
                kept[worse] = False
        # A group is as good as its best, and the first of equal ones.
        _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
        ranks = np.empty(len(first), np.int64)
        ranks[np.argsort(first)] = np.arange(len(first))
        first = np.sort(first)
        return Joined(self.shape, masks, ranks[groups], kept, rows[first, 0], scores[first])


@dataclass(frozen=True)
class Joined:
    """Objects of the whole image; see `Found` for what is made of them.

    Args:
        shape: Of the image.
        masks: Of finds, from the best on.
        groups: Object of every find, from the best on.
        kept: Which finds are drawn.
        labels: Class of every object.
        scores: Of every object: that of its best find.
    """

    shape: tuple[int, int]
    masks: _Masks = field(repr=False)
    groups: Ints = field(repr=False)
    kept: NDArray[np.bool_] = field(repr=False)
    labels: Ints
    scores: NDArray[np.float64]

    def drawn(self, box: Box) -> Ints:
        """Return the object of every sample of a box, -1 where there is none."""
        codes = np.full(box.shape, -1, np.int64)
        found = np.flatnonzero(self.kept & self.masks.within(box))
        # The best comes last. Finds of an object are drawn together: their order counts for others.
        for place in found[np.argsort(-self.groups[found], kind="stable")].tolist():
            own = self.masks.box(place)
            both = own.intersect(box)
            inside = self.masks.read(place)[both.relative_to(own).slices]
            codes[both.relative_to(box).slices][inside] = self.groups[place]
        return codes


@dataclass(frozen=True)
class Detected:
    """Joined objects that have samples, by ascending first sample; see `Found`.

    Args:
        table: What is known of every one; scores are those of the objects.
        unit: What an amount of 1 in the table stands for.
        joined: The objects.
        block: Extents of the blocks they are drawn in.
        rows: Row in the table of every object, -1 where others cover it.
    """

    table: Table
    unit: float
    joined: Joined = field(repr=False)
    block: tuple[int, ...]
    rows: Ints = field(repr=False)

    @classmethod
    def of(cls, joined: Joined, amounts: Amounts, block: tuple[int, ...]) -> Detected:
        """Count the objects' samples, block by block; the result does not depend on them."""
        tables, codes = [], [np.zeros(0, np.int64)]
        for box in block_boxes(joined.shape, block):
            drawn = joined.drawn(box)
            every, ids = np.unique(drawn, return_inverse=True)
            none = int(len(every) > 0 and every[0] < 0)
            every = every[none:]
            labels = np.append(joined.labels, -1)[drawn].astype(np.int32)
            pieces = Pieces(
                labels[np.newaxis], (ids.ravel() - none).astype(np.int32), len(every), 1
            )
            parts = np.append(np.rint(joined.scores * SCORE_PARTS), 0)[drawn].astype(np.int64)
            at = (box.start, joined.shape)
            tables.append(table_of(pieces, at, amounts, parts, np.zeros(len(every), np.bool_)))
            codes.append(every)
        seen, to = np.unique(np.concatenate(codes), return_inverse=True)
        table, places = Table.joined(tables).merged(len(seen), to)
        rows = np.full(len(joined.labels), -1, np.int64)
        rows[seen[to]] = places
        return cls(table, amounts.unit, joined, block, rows)

    def rewritten(self, values: Ints, nodata: int) -> Iterator[tuple[Box, Ints]]:
        """Yield blocks with a value for every row of the table."""
        own = np.append(np.append(values, nodata)[self.rows], nodata)
        for box in block_boxes(self.joined.shape, self.block):
            yield box, own[self.joined.drawn(box)]


class _Masks:
    """Masks of finds: label, place on disk, box and window of every one."""

    def __init__(self, rows: Ints, shape: tuple[int, int], scratch: Scratch) -> None:
        self._rows, self._shape, self._scratch = rows, shape, scratch

    def box(self, place: int) -> Box:
        """Return where a find lies."""
        return _box(self._rows[place, 2:6])

    def read(self, place: int) -> NDArray[np.bool_]:
        """Return a find's samples in its box."""
        box, begin = self.box(place), int(self._rows[place, 1])
        bits = self._scratch.read(begin, -(-box.size // 8), np.uint8)
        return np.unpackbits(bits, count=box.size).astype(np.bool_).reshape(box.shape)

    def within(self, box: Box) -> NDArray[np.bool_]:
        """Return which finds have a part in a box."""
        low, high = self._rows[:, 2:4], self._rows[:, 4:6]
        return np.asarray(((low < box.stop) & (high > box.start)).all(axis=1))

    def agree(self, one: int, other: int, least: float) -> bool:
        """Whether two finds are the same in what their windows share."""
        shared = self._shared(one, other)
        boxes = self.box(one), self.box(other)
        masks = self.read(one), self.read(other)
        # Each lies in its window, so where they meet is shared.
        meet = boxes[0].intersect(boxes[1])

        def samples(place: int, where: Box) -> NDArray[np.bool_]:
            return masks[place][where.relative_to(boxes[place]).slices]

        common = int((samples(0, meet) & samples(1, meet)).sum())
        alone = sum(int(samples(i, box.intersect(shared)).sum()) for i, box in enumerate(boxes))
        return common > 0 and common >= least * (alone - common)

    def whole(self, one: int, other: int) -> bool:
        """Whether two finds lie inside of what their windows share, uncut by its border."""
        shared = self._shared(one, other)
        # Nothing is cut at the border of the image.
        low = np.where(np.array(shared.start) == 0, -1, shared.start)
        high = np.array(shared.stop) + (np.array(shared.stop) == self._shape)
        boxes = self._rows[[one, other], 2:6]
        return bool((boxes[:, :2] > low).all() and (boxes[:, 2:] < high).all())

    def _shared(self, one: int, other: int) -> Box:
        return _box(self._rows[one, 6:]).intersect(_box(self._rows[other, 6:]))


def _box(ends: Ints) -> Box:
    return Box(tuple(ends[:2].tolist()), tuple(ends[2:].tolist()))


def _pairs(rows: Ints) -> Iterator[tuple[int, int]]:
    """Yield pairs of finds of one class and two windows whose boxes meet, the better one first."""
    order = np.argsort(rows[:, 2], kind="stable")
    low, high, windows, labels = rows[order, 2:4], rows[order, 4:6], rows[order, 6:], rows[order, 0]
    ends = np.searchsorted(low[:, 0], high[:, 0])
    for i, end in enumerate(ends.tolist()):
        rest = slice(i + 1, end)
        meet = (low[rest, 1] < high[i, 1]) & (high[rest, 1] > low[i, 1])
        meet &= (labels[rest] == labels[i]) & (windows[rest] != windows[i]).any(axis=1)
        for j in np.flatnonzero(meet).tolist():
            one, other = int(order[i]), int(order[i + 1 + j])
            yield min(one, other), max(one, other)
