"""The connected pieces of one block, all classes at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._connectivity import offsets
from ._kernels import PAIR, borders, number
from ._union import Ints

Labels = NDArray[np.int32]
#: Label of samples that were not measured.
NODATA = -1


@dataclass(frozen=True)
class Touching:
    """Pairs that touch.

    Args:
        one: Of every pair the one.
        other: And the other.
        sides: Sides of samples that they share; 0 where they touch at edges or corners only.
    """

    one: Ints
    other: Ints
    sides: Ints

    def where(self, chosen: NDArray[np.bool_]) -> Touching:
        """Return some of the pairs."""
        return Touching(self.one[chosen], self.other[chosen], self.sides[chosen])


@dataclass(frozen=True)
class Pieces:
    """The connected pieces of a block, by ascending first sample.

    Args:
        block: Labels, (z, y, x), `NODATA` where there is none.
        ids: Piece of every sample, raveled; -1 where nothing was measured.
        count: Pieces.
        rank: Along how many axes at once neighbours may lie apart.
    """

    block: Labels
    ids: Labels
    count: int
    rank: int

    @classmethod
    def of(cls, labels: Labels, rank: int) -> Pieces:
        """Find the pieces of a block, (y, x) or (z, y, x)."""
        block = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
        ids = np.empty(block.size, np.int32)
        return cls(block, ids, int(number(block, _steps(rank), ids)), rank)

    def borders(self, wanted: bool) -> tuple[Touching, NDArray[np.bool_]]:
        """Return the pairs of pieces that touch, and which pieces lie beside nodata.

        Args:
            wanted: Whether pairs are; else there are none.
        """
        opened = np.zeros(self.count, np.bool_)
        codes, sides = borders(self.block, self.ids, _steps(self.rank), wanted, opened)
        kept = codes >= 0
        codes, sides = codes[kept], sides[kept]
        return Touching(codes // PAIR, codes % PAIR, sides), opened


def _steps(rank: int) -> Ints:
    """Return the steps to earlier neighbours, the nearest in memory first."""
    steps = [s for s in offsets(3, rank) if s < (0, 0, 0)]
    return np.array(sorted(steps, key=lambda s: (sum(map(abs, s)), s[::-1])), np.int64)
