"""What is known of every component; all sums are of whole numbers, so no order changes them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ._pieces import NODATA, Pieces
from ._union import Ints

#: Of all samples together, of which the rows' shares are counted.
_WHOLE = 2.0**61
#: Parts of 1 that scores are counted in.
SCORE_PARTS = 1 << 24


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


@dataclass(frozen=True)
class Table:
    """Components, or pieces of them, one a row.

    Args:
        labels: Label, which is the class.
        keys: Smallest index of a sample in the raveled map.
        sizes: Samples.
        amounts: Sum of the `Amounts` of its samples.
        low: First index along every axis, (n, axes).
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
        return Table(
            labels,
            keys[order],
            _sums(count, to, self.sizes),
            _sums(count, to, self.amounts),
            low,
            high,
            np.stack([_sums(count, to, m) for m in self.moments.T], axis=1),
            touched,
            _sums(count, to, self.scores),
        ), to


def table_of(
    pieces: Pieces,
    start: tuple[int, ...],
    shape: tuple[int, ...],
    amounts: Amounts,
    scores: Ints | None,
) -> Table:
    """Return the table of a block's pieces.

    Args:
        pieces: The pieces.
        start: The block's first index in the map.
        shape: Of the map.
        amounts: Of the map's rows.
        scores: Of every sample of the block, in `SCORE_PARTS`.
    """
    runs = pieces.runs
    kept = runs.labels != NODATA
    piece, length, count = pieces.of_run[kept], runs.lengths[kept], pieces.count
    at = np.stack([p[kept] + s for p, s in zip(runs.places(), start, strict=True)], axis=1)
    end = at + 1
    end[:, -1] += length - 1
    keys = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(keys, piece, np.ravel_multi_index(tuple(at.T), shape))
    labels = np.empty(count, np.int32)
    labels[piece] = runs.labels[kept]
    low = np.full((count, len(shape)), np.iinfo(np.int64).max)
    high = np.zeros_like(low)
    np.minimum.at(low, piece, at)
    np.maximum.at(high, piece, end)
    touched = ((low == 0) | (high == shape)).any(axis=1)
    touched[pieces.beside_nodata] = True
    moments = [_sums(count, piece, length * (a + e)) for a, e in zip(at.T, end.T, strict=True)]
    summed = np.zeros(len(piece), np.int64)
    if scores is not None:
        summed = np.add.reduceat(scores.ravel(), runs.starts)[kept]
    return Table(
        labels,
        keys,
        _sums(count, piece, length),
        _sums(count, piece, length * amounts.rows[at[:, 0]]),
        low,
        high,
        np.stack(moments, axis=1),
        touched,
        _sums(count, piece, summed),
    )


def _sums(count: int, to: Ints, values: Ints) -> Ints:
    sums = np.zeros(count, np.int64)
    np.add.at(sums, to, values)
    return sums
