"""Connected components of a class map of any size, block by block.

A component is a largest connected set of samples of one label. Its key is the smallest index of its
samples in the raveled map and its place in the table is the rank of the key, so neither depends on
the blocks. What was not measured belongs to none.

Memory: about 20 bytes per sample of a block, 300 per piece of a component in a block, 100 per
pair of pieces that touch, and two cross-sections of the map; never the map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..budget import format_bytes
from ..errors import BudgetExceeded, ConfigError
from ..io import Source
from ._connectivity import rank_of
from ._faces import Faces, block_boxes
from ._pieces import NODATA, Labels, Pieces, Touching
from ._table import SCORE_PARTS, Amounts, Table, table_of
from ._union import Ints, groups_of, summed_pairs

#: Samples of a block where nothing is said.
BLOCK = 1 << 22
#: Bytes held per sample of a block, per piece of a component in a block, and per pair of these.
FINDING_BYTES, PIECE_BYTES, PAIR_BYTES = 20, 300, 100
#: Labels are 0 to this; larger numbers are ids of instances, not classes.
LARGEST = 65535
#: Pieces that can be told apart, as pairs and in the groups' 32 bits.
_MOST_PIECES = (1 << 31) - 1
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
    """

    table: Table
    unit: float
    borders: Touching
    source: Source = field(repr=False)
    rank: int
    boxes: list[Box] = field(repr=False)
    pieces: Ints = field(repr=False)
    ends: list[int] = field(repr=False)

    def rewritten(self, values: Ints, nodata: int) -> Iterator[tuple[Box, Ints]]:
        """Read the map again, and yield it with a value for every component.

        Args:
            values: Of every component.
            nodata: Value where nothing was measured.

        Yields:
            Blocks and their values.
        """
        first = 0
        for box, end in zip(self.boxes, self.ends, strict=True):
            found = Pieces.of(read_labels(self.source, box), self.rank)
            own = np.append(values[self.pieces[first:end]], nodata)  # -1 takes the last
            yield box, own[found.ids].reshape(box.shape)
            first = end


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
    for box in boxes:
        pieces = Pieces.of(read_labels(source, box), rank)
        own = None if scores is None else read_scores(scores, box)
        touching, opened = pieces.borders(borders)
        table = table_of(pieces, (box.start, shape), amounts, own, opened)
        gathered.add(box, pieces, table, touching)
        if on_share is not None:
            on_share(gathered.samples / source.grid.box.size)
    found, pairs, places = gathered.joined()
    return Components(found, amounts.unit, pairs, source, rank, boxes, places, gathered.ends)


class _Gathered:
    """What blocks add up to."""

    def __init__(self, shape: tuple[int, ...], rank: int, borders: bool, room: int | None) -> None:
        self._faces, self._wanted, self._room = Faces(shape, rank), borders, room
        self._all = prod(shape)
        none = np.zeros(0, np.int64)
        self._tables: list[Table] = []
        self._pairs: list[Touching] = [Touching(none, none, none)]
        self._open: list[Ints] = [none]
        self.ends: list[int] = []
        self.samples = 0

    def add(self, box: Box, pieces: Pieces, table: Table, pairs: Touching) -> None:
        """Add a block."""
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
        ids = pieces.ids.reshape(box.shape)
        for across in self._faces.pass_by(box, ids, first):
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


def require_class_map(source: Source) -> None:
    """Refuse what is no class map.

    Raises:
        ConfigError: It has several channels, or samples that are no whole numbers.
    """
    if len(source.channels) != 1 or source.dtype.kind not in "iu":
        raise ConfigError(
            f"{source.uri} is not a class map: it has {len(source.channels)} channels of "
            f"{source.dtype}, expected one channel of integers"
        )


def read_labels(source: Source, box: Box) -> Labels:
    """Return the labels of a box, `NODATA` where nothing was measured.

    Raises:
        ConfigError: There are values outside 0 to 65535.
        DamagedInput: The map cannot be read.
    """
    values, valid = source.read(box)[0], source.valid(box)
    labels = np.where(valid, values, 0)
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low < 0 or high > LARGEST:
        raise ConfigError(
            f"{source.uri} holds {min(low, 0)} to {high}: labels are 0 to {LARGEST}; give a class "
            "map, or declare other values as its nodata"
        )
    found: Labels = labels.astype(np.int32)
    found[~valid] = NODATA
    return found


def rows_of(source: Source, samples: int = BLOCK) -> tuple[int, ...]:
    """Return blocks of whole rows along axis 0, in multiples of the file's own where they fit.

    Args:
        source: The map.
        samples: Most samples of a block, unless a row has more.
    """
    rows, *rest = source.grid.shape
    step = max(1, min(samples // prod(rest), rows))
    deep = max(1, source.blocks[0])
    return (max(step // deep * deep, min(step, deep)), *rest)


def read_scores(scores: Source, box: Box) -> Ints:
    """Return the scores of a box in `SCORE_PARTS`; what was not measured counts as 0.

    Raises:
        ConfigError: There are scores outside 0 to 1.
        DamagedInput: They cannot be read.
    """
    values = scores.read(box)[0].astype(np.float64)
    values[~scores.valid(box) | ~np.isfinite(values)] = 0
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0 or high > 1:
        raise ConfigError(f"scores {scores.uri} hold {low:g} to {high:g}, expected 0 to 1")
    parts: Ints = np.rint(values * SCORE_PARTS).astype(np.int64)
    return parts
