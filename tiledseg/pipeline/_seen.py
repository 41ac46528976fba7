"""What is seen of a class map as it goes by in whole rows: samples here and there, and how many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..components import NODATA, read_labels, rows_of
from ..io import Source, centred_picks
from ._settings import OnShare, ignore

#: Most samples per axis of a picture.
SHOWN = {2: 1024, 3: 256}


class Picked:
    """The samples of a map that `tiledseg.io.Source.overview` would pick.

    Args:
        wanted: Ascending indices along every axis.
    """

    def __init__(self, wanted: list[NDArray[np.int64]]) -> None:
        self._wanted = wanted
        self._rows: list[NDArray[np.int32]] = []

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Picked:
        """Return what picks from a map of some shape for a picture."""
        return cls([centred_picks(n, SHOWN[len(shape)]) for n in shape])

    def add(self, box: Box, labels: NDArray[np.integer]) -> None:
        """Take the next whole rows."""
        first, *inner = self._wanted
        inside = first[(first >= box.start[0]) & (first < box.stop[0])]
        self._rows.append(labels[np.ix_(inside - box.start[0], *inner)].astype(np.int32))

    @property
    def labels(self) -> NDArray[np.int32]:
        """What was picked."""
        return np.concatenate(self._rows)


class Counted:
    """Samples of every class, and their area or volume.

    Args:
        ids: Ascending labels of the classes.
        sizes: Of a sample in every row of axis 0.
    """

    def __init__(self, ids: NDArray[np.int64], sizes: NDArray[np.float64]) -> None:
        self._ids, self._sizes = ids, sizes
        self.samples = np.zeros(len(ids), np.int64)
        self.amounts = np.zeros(len(ids))

    def add(self, box: Box, labels: NDArray[np.integer]) -> None:
        """Count whole rows; labels of no class, as those below 0, are not counted."""
        most = int(self._ids[-1]) + 1
        for row, size in zip(labels, self._sizes[box.start[0] : box.stop[0]], strict=True):
            known = row[(row >= 0) & (row < most)]
            counts = np.bincount(known, minlength=most)[self._ids]
            self.samples += counts
            self.amounts += size * counts


def count_labels(
    source: Source, picked: Picked, samples: int, tell: OnShare = ignore
) -> NDArray[np.int64]:
    """Return how often every label occurs in a map, picking some on the way.

    Args:
        source: The map.
        picked: Takes some of its samples.
        samples: That are read at a time, about.
        tell: Told the share that is done, 0 to 1.
    """
    counts, done = np.zeros(2**16, np.int64), 0
    rows = rows_of(source, samples)[0]
    for row in range(0, source.grid.shape[0], rows):
        box = source.grid.box.along(0, row, min(row + rows, source.grid.shape[0]))
        labels = read_labels(source, box)
        counts += np.bincount(labels[labels != NODATA], minlength=2**16)
        picked.add(box, labels)
        done += box.size
        tell(done / source.grid.box.size)
    return counts
