"""What is known of every component; all sums are of whole numbers, so no order changes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._kernels import AMOUNT, COLUMNS, HIGH, KEY, LOW, MOMENT, SCORE, SIZE, measure
from ._pieces import Pieces
from ._union import Ints

#: Of all samples together, of which the rows' shares are counted.
_WHOLE = 2.0**61
#: Parts of 1 that scores are counted in.
SCORE_PARTS = 1 << 24
#: Columns of a table that have axes.
_EXTENTS = ("low", "high", "moments")
#: Sizes and lengths this close to a limit, relative, reach it: spacings are rounded fractions.
NEAR = 1e-9


@dataclass(frozen=True)
class Amounts:
    """How much of the world a sample is, by its row along axis 0, as whole numbers.

    Args:
        rows: Of a sample in every row.
        unit: What 1 stands for; areas are rounded to 2^-61 of the map's.
    """

    rows: Ints
    unit: float

    @classmethod
    def of(cls, measures: NDArray[np.float64], across: int) -> Amounts:
        """Return the amounts of samples of some measures.

        Args:
            measures: Of a sample in every row, above 0.
            across: Samples in a row.
        """
        if (measures == measures[0]).all():
            return cls(np.ones(len(measures), np.int64), float(measures[0]))
        unit = float(measures.sum()) * across / _WHOLE
        return cls(np.rint(measures / unit).astype(np.int64), unit)


def enough(size: float, unit: float) -> int:
    """Return the smallest amount that reaches a size.

    Args:
        size: The size, 0 or more.
        unit: What an amount of 1 stands for.

    >>> enough(0.3, 0.1), enough(0.31, 0.1)
    (3, 4)
    """
    return math.ceil(size * (1 - NEAR) / unit)


@dataclass(frozen=True)
class Table:
    """Components, or pieces of them, one a row.

    Args:
        labels: Label, which is the class.
        keys: Smallest index of a sample in the raveled map.
        sizes: Samples.
        amounts: Sum of the `Amounts` of its samples.
        low: First index along every axis, (n, axes); no axes where extents were not asked for.
        high: One past the last index along every axis, (n, axes).
        moments: Sum of 2 i + 1 along every axis, (n, axes): the centroid, times 2 samples.
        open: Whether it touches the border of the map, or what was not measured.
        scores: Sum of the samples' scores in `SCORE_PARTS`; zeros where none were given.
    """

    labels: NDArray[np.int32]
    keys: Ints
    sizes: Ints
    amounts: Ints
    low: Ints
    high: Ints
    moments: Ints
    open: NDArray[np.bool_]
    scores: Ints

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def joined(cls, tables: list[Table]) -> Table:
        """Return the rows of some tables, in order."""
        return cls(
            *(np.concatenate([getattr(t, field.name) for t in tables]) for field in fields(cls))
        )

    def where(self, chosen: NDArray[Any] | slice) -> Table:
        """Return some of the rows: by a mask, a slice, or by place in a new order."""
        return Table(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def columns(self, extents: bool) -> tuple[NDArray[Any], ...]:
        """Return the columns, each an array of its own.

        Args:
            extents: Whether those of boxes and moments are wanted, else they get no axes.
        """
        bare = self if extents else replace(self, **{n: getattr(self, n)[:, :0] for n in _EXTENTS})
        return tuple(np.ascontiguousarray(getattr(bare, field.name)) for field in fields(self))

    def merged(self, count: int, groups: Ints) -> tuple[Table, Ints]:
        """Return the table of groups by ascending key, and the place there of every row.

        Args:
            count: Groups; each has a row and one label.
            groups: Group of every row.
        """
        keys = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(keys, groups, self.keys)
        order = np.argsort(keys)
        places = np.empty(count, np.int64)
        places[order] = np.arange(count)
        to = places[groups]
        labels = np.empty(count, np.int32)
        labels[to] = self.labels
        touched = np.zeros(count, np.bool_)
        touched[to[self.open]] = True
        low = np.full((count, self.low.shape[1]), np.iinfo(np.int64).max)
        np.minimum.at(low, to, self.low)
        high = np.zeros_like(low)
        np.maximum.at(high, to, self.high)
        moments = np.zeros_like(low)
        for axis in range(low.shape[1]):
            moments[:, axis] = _sums(count, to, self.moments[:, axis])
        return Table(
            labels,
            keys[order],
            _sums(count, to, self.sizes),
            _sums(count, to, self.amounts),
            low,
            high,
            moments,
            touched,
            _sums(count, to, self.scores),
        ), to


def table_of(
    pieces: Pieces,
    place: tuple[tuple[int, ...], tuple[int, ...]],
    amounts: Amounts,
    scores: Ints | None,
    opened: NDArray[np.bool_],
) -> Table:
    """Return the table of a block's pieces.

    Args:
        pieces: The pieces.
        place: The block's first index in the map, and the map's shape.
        amounts: Of the map's rows.
        scores: Of every sample of the block, in `SCORE_PARTS`.
        opened: Which pieces lie beside what was not measured.
    """
    start, shape = place
    axes, (deep, high, _) = len(shape), pieces.block.shape
    rows = amounts.rows[start[0] :][: high if axes == 2 else deep]
    own = np.broadcast_to(rows[np.newaxis] if axes == 2 else rows[:, np.newaxis], (deep, high))
    at = np.array([(0, *start), (1, *shape)] if axes == 2 else [start, shape], np.int64)
    labels, sums = np.zeros(pieces.count, np.int32), np.zeros((pieces.count, COLUMNS), np.int64)
    parts = np.zeros(0, np.int64) if scores is None else scores.ravel()
    measure(pieces.block, pieces.ids, (at[0], at[1]), own.copy(), parts, (labels, sums))
    low, high_, moments = (sums[:, c + 3 - axes : c + 3] for c in (LOW, HIGH, MOMENT))
    touched = opened | ((low == 0) | (high_ == shape)).any(axis=1)
    key, size, amount, score = (sums[:, c] for c in (KEY, SIZE, AMOUNT, SCORE))
    return Table(labels, key, size, amount, low, high_, moments, touched, score)


def _sums(count: int, to: Ints, values: Ints) -> Ints:
    sums = np.zeros(count, np.int64)
    np.add.at(sums, to, values)
    return sums
