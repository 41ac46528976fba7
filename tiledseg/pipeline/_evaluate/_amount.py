"""Areas and volumes of classes, by what samples measure on the earth or in a patient."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...grid import Grid, SpaceKind
from ...metrics import Confusion, labels_of
from ...vector import row_measures

#: Difference of samples up to which they have one size: areas are then off by half of it at most.
_ALIKE = 0.005


def sizes_of(grid: Grid) -> tuple[NDArray[np.float64], str] | None:
    """Return the size of a sample per row and its unit, ml or ha, by `tiledseg.vector`'s rule.

    None where samples have no size: without a CRS, or where a volume is not of a patient.
    """
    if grid.space.kind is not SpaceKind.PATIENT and grid.ndim != 2:
        return None
    sizes, unit = row_measures(grid)
    return None if unit == "samples" else (sizes, unit)


def one_size(grid: Grid) -> tuple[float, str]:
    """Return the size of a sample and its unit, where all have one: points are drawn by samples.

    Else, and where they have none, a sample counts as one: ``samples``.
    """
    found = sizes_of(grid)
    if found is None or np.ptp(found[0]) > _ALIKE * found[0].mean():
        return 1.0, "samples"
    return float(found[0].mean()), found[1]


class Difference:
    """By how much a map has more of each class than the truth.

    Args:
        sizes: Size of a sample per row.
        unit: Its unit.
    """

    def __init__(self, sizes: NDArray[np.float64], unit: str) -> None:
        self.unit, self._sizes = unit, sizes
        self._more: Counter[int] | None = None if np.ptp(sizes) == 0 else Counter()

    def add(
        self,
        truth: NDArray[Any],
        found: NDArray[Any],
        valid: NDArray[np.bool_],
        measured: NDArray[np.bool_],
        row: int,
    ) -> None:
        """Weigh the samples of a block, (rows, columns); of one size they are counted already.

        Args:
            truth: Label values.
            found: Those of the map.
            valid: Where there is a truth.
            measured: Where the map has a class.
            row: Of its first sample.
        """
        if self._more is None:
            return
        sizes = np.broadcast_to(self._sizes[row : row + len(truth), np.newaxis], truth.shape)
        for sign, values, there in ((1, found, valid & measured), (-1, truth, valid)):
            sums = np.bincount(labels_of(values[there], "labels"), sizes[there])
            for label in np.flatnonzero(sums):
                self._more[int(label)] += sign * sums[label]

    def of(self, confusion: Confusion) -> NDArray[np.float64]:
        """Return the figure per class of a case's counts."""
        if self._more is not None:
            return np.array([float(self._more[label]) for label in confusion.ids])
        more = confusion.found.astype(np.float64) - confusion.truth.astype(np.float64)
        return np.asarray(more * self._sizes[0])
