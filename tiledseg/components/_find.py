"""Connected components of a class map of any size, block by block.

A component is a largest connected set of samples of one label. Its key is the smallest index of its
samples in the raveled map and its place in the table is the rank of the key, so neither depends on
the blocks. What was not measured belongs to none.

Memory: about 20 bytes per sample of a block, 300 per piece of a component in a block, 100 per
pair of pieces that touch, and two cross-sections of the map; never the map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..budget import format_bytes
from ..errors import BudgetExceeded
from ..io import Entry, Ledger, Source
from ._connectivity import rank_of
from ._faces import Faces, block_boxes, ends_of
from ._pieces import Labels, Pieces, Touching
from ._read import read_labels, read_scores, require_class_map, rows_of
from ._table import Amounts, Table, table_of
from ._union import Ints, groups_of, summed_pairs

#: Bytes held per sample of a block, per piece of a component in a block, and per pair of these.
FINDING_BYTES, PIECE_BYTES, PAIR_BYTES = 20, 300, 100
#: Pieces that can be told apart, as pairs and in the groups' 32 bits.
_MOST_PIECES = (1 << 31) - 1
#: Columns of a table, and where, behind pairs that touch, a band's last row is in an entry.
_COLUMNS = len(fields(Table))
_LAST_ROW = _COLUMNS + 4
_NONE = Touching(*[np.zeros(0, np.int64)] * 3)
OnShare = Callable[[float], None]


@dataclass(frozen=True)
class Components:
    """The components of a map.

    Args:
        table: What is known of every one, by ascending key.
        unit: What an amount of 1 in the table stands for.
        borders: Pairs of components of different labels that touch, each once, and the sides
            of samples they share; empty where borders were not asked for.
        source: The map.
        rank: Along how many axes at once neighbours may lie apart.
        boxes: The blocks it was read in.
        pieces: Component of every piece, block by block.
        ends: Pieces up to the end of every block.
        entries: Of every block, in the ledger that was given.
    """

    table: Table
    unit: float
    borders: Touching
    source: Source = field(repr=False)
    rank: int
    boxes: list[Box] = field(repr=False)
    pieces: Ints = field(repr=False)
    ends: list[int] = field(repr=False)
    entries: list[Entry] = field(repr=False)

    def rewritten(self, values: Ints, nodata: int) -> Iterator[tuple[Box, Ints]]:
        """Read the map again, and yield it with a value for every component.

        Args:
            values: Of every component.
            nodata: Value where nothing was measured.

        Yields:
            Blocks and their values.
        """
        for number, box in enumerate(self.boxes):
            found = Pieces.of(read_labels(self.source, box), self.rank)
            yield box, self._own(number, values, nodata)[found.ids].reshape(box.shape)

    def framed(self, number: int, values: NDArray[np.int32]) -> Labels:
        """Read a band of whole rows again, of a scene, with a value for every component.

        Args:
            number: Of the block, or that of blocks for what lies beyond the last.
            values: Of every component.

        Returns:
            The values, (rows + 1, columns + 2): the row above first, a column of -1 at both sides;
            -1 where there is none. Beyond the last block there is one row of -1.
        """
        columns = self.source.grid.shape[1]
        beyond = number == len(self.boxes)
        rows = 1 if beyond else self.boxes[number].shape[0]
        framed = np.full((rows + 1, columns + 2), -1, np.int32)
        if number:
            framed[0, 1:-1] = self._own(number - 1, values, -1)[self.entries[number - 1][_LAST_ROW]]
        if not beyond:
            found = Pieces.of(read_labels(self.source, self.boxes[number]), self.rank)
            framed[1:, 1:-1] = self._own(number, values, -1)[found.ids].reshape(rows, columns)
        return framed

    def _own(self, number: int, values: NDArray[Any], nodata: int) -> NDArray[Any]:
        """Return the values of a block's pieces, and of none: -1 takes the last."""
        first = self.ends[number - 1] if number else 0
        own = np.full(self.ends[number] - first + 1, nodata, values.dtype)
        own[:-1] = values[self.pieces[first : self.ends[number]]]
        return own


def find_components(
    source: Source,
    connectivity: int | None = None,
    *,
    block: tuple[int, ...] | None = None,
    borders: bool = False,
    measures: NDArray[np.float64] | None = None,
    scores: Source | None = None,
    on_share: OnShare | None = None,
    room: int | None = None,
    extents: bool = True,
    ledger: Ledger | None = None,
) -> Components:
    """Find the connected components of a class map.

    Args:
        source: The map: one channel of whole numbers of 0 to 65535.
        connectivity: 4 or 8 in 2-D; 6, 18 or 26 in 3-D; None takes 4 or 6.
        block: Extent of a block per axis; None takes whole rows. The result does not depend on it.
        borders: Whether pairs that touch are wanted.
        measures: Area or volume of a sample in every row of axis 0; None takes the grid's own.
        scores: A score of 0 to 1 per sample, on the map's grid; its first channel counts.
        on_share: Told the share that is done, 0 to 1.
        room: Bytes that components and their borders may take; None: as many as there are.
        extents: Whether boxes, centroids, and what lies open, are wanted.
        ledger: What does the blocks, several at a time and again after a kill; None: one by one.

    Raises:
        ConfigError: The source is no class map, or the connectivity does not exist.
        GridMismatch: The scores lie elsewhere.
        BudgetExceeded: There are more than 2^31 pieces, or than there is room for.
        DamagedInput: The map cannot be read.
    """
    require_class_map(source)
    shape = source.grid.shape
    rank = rank_of(connectivity, len(shape))
    if scores is not None:
        source.grid.require_like(scores.grid, f"scores {scores.uri}")
    if measures is None:
        measures = np.full(shape[0], source.grid.sample_measure)
    amounts = Amounts.of(measures, source.grid.box.size // shape[0])
    boxes = block_boxes(shape, block or rows_of(source))
    gathered = _Gathered(shape, rank, borders, room)

    def step(box: Box) -> tuple[NDArray[Any], ...]:
        pieces = Pieces.of(read_labels(source, box), rank)
        own = None if scores is None else read_scores(scores, box)
        pairs, opened = _NONE, np.zeros(pieces.count, np.bool_)
        if borders or extents:
            pairs, opened = pieces.borders(borders)
        table = table_of(pieces, (box.start, shape), amounts, own, opened)
        ends = ends_of(pieces.ids.reshape(box.shape))
        return (*table.columns(extents), pairs.one, pairs.other, pairs.sides, *ends)

    entries: list[Entry] = []
    given = map(step, boxes) if ledger is None else _kept(ledger.steps(step, boxes), entries)
    for box, arrays in zip(boxes, given, strict=True):
        gathered.add(box, arrays)
        if on_share is not None:
            on_share(gathered.samples / source.grid.box.size)
    found, pairs, places = gathered.joined()
    ends = gathered.ends
    return Components(found, amounts.unit, pairs, source, rank, boxes, places, ends, entries)


def _kept(made: Iterator[Entry], entries: list[Entry]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield the arrays of entries, and keep where they are."""
    for entry in made:
        entries.append(entry.at_rest())
        yield tuple(entry[k] for k in range(len(entry)))


class _Gathered:
    """What blocks add up to."""

    def __init__(self, shape: tuple[int, ...], rank: int, borders: bool, room: int | None) -> None:
        self._faces, self._wanted, self._room = Faces(shape, rank), borders, room
        self._all = prod(shape)
        self._tables: list[Table] = []
        self._pairs: list[Touching] = [_NONE]
        self._open: list[Ints] = [_NONE.one]
        self.ends: list[int] = []
        self.samples = 0

    def add(self, box: Box, given: tuple[NDArray[Any], ...]) -> None:
        """Add a block."""
        table = Table(*given[:_COLUMNS])
        pairs = Touching(*given[_COLUMNS : _COLUMNS + 3])
        first = self.ends[-1] if self.ends else 0
        self.ends.append(first + len(table))
        self.samples += box.size
        if self.ends[-1] > _MOST_PIECES:
            raise BudgetExceeded(
                f"the map has more than {_MOST_PIECES:,} pieces of components, which is noise; "
                "smooth it first, or give a part of it"
            )
        self._tables.append(table)
        self._pairs.append(Touching(pairs.one + first, pairs.other + first, pairs.sides))
        for across in self._faces.pass_by(box, list(given[_COLUMNS + 3 :]), first):
            self._keep(across)
        self._require_room()

    def _require_room(self) -> None:
        need = self.ends[-1] * PIECE_BYTES + sum(len(p.one) for p in self._pairs) * PAIR_BYTES
        if self._room is not None and need > self._room:
            raise BudgetExceeded(
                f"the {self.ends[-1]:,} components in the first {self.samples / self._all:.0%} of "
                f"the map need {format_bytes(need)}, {format_bytes(self._room)} of the budget are "
                "left for them: raise the budget, or smooth the map first"
            )

    def _keep(self, pairs: Touching) -> None:
        """Keep pairs of pieces, and which of them lie beside nodata."""
        alone = (pairs.one < 0) | (pairs.other < 0)
        self._open.append(np.unique(np.maximum(pairs.one, pairs.other)[alone]))
        both = pairs.where(~alone)
        self._pairs.append(Touching(*summed_pairs(1 << 31, both.one, both.other, both.sides)))

    def joined(self) -> tuple[Table, Touching, Ints]:
        """Return the components, the pairs that touch, and the component of every piece."""
        table = Table.joined(self._tables)
        opened = np.concatenate(self._open)
        table.open[opened[opened >= 0]] = True
        pairs = _all(self._pairs)
        same = table.labels[pairs.one] == table.labels[pairs.other]
        count, groups = groups_of(len(table), pairs.one[same], pairs.other[same])
        merged, places = table.merged(count, groups)
        unlike = pairs.where(~same) if self._wanted else pairs.where(same & False)
        one, other = places[unlike.one], places[unlike.other]
        return merged, Touching(*summed_pairs(count, one, other, unlike.sides)), places


def _all(pairs: list[Touching]) -> Touching:
    return Touching(
        np.concatenate([p.one for p in pairs]),
        np.concatenate([p.other for p in pairs]),
        np.concatenate([p.sides for p in pairs]),
    )
