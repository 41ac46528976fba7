"""Where a scene's map is wrong most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Samples per axis of a place.
SIZE = 512


class WorstPlaces:
    """Wrong samples per square of `SIZE` samples, counted block by block."""

    def __init__(self) -> None:
        self._wrong: dict[tuple[int, int], int] = {}

    def add(self, wrong: NDArray[np.bool_], start: tuple[int, ...]) -> None:
        """Count a block.

        Args:
            wrong: Where the map is wrong, (y, x).
            start: Index of its first sample in the image.
        """
        rows, columns = (
            np.arange(a // SIZE, (a + n - 1) // SIZE + 1)
            for a, n in zip(start, wrong.shape, strict=True)
        )
        cuts = [np.maximum(at * SIZE - a, 0) for at, a in zip((rows, columns), start, strict=True)]
        inside = np.add.reduceat(wrong, cuts[1], axis=1, dtype=np.int64)
        counts = np.add.reduceat(inside, cuts[0], axis=0)
        for i, j in zip(*np.nonzero(counts), strict=True):
            key = (int(rows[i]), int(columns[j]))
            self._wrong[key] = self._wrong.get(key, 0) + int(counts[i, j])

    def most(self, count: int) -> list[tuple[tuple[int, int], int]]:
        """Return the first samples of the worst places, and how many samples are wrong there."""
        ordered = sorted(self._wrong.items(), key=lambda pair: (-pair[1], pair[0]))
        return [((y * SIZE, x * SIZE), wrong) for (y, x), wrong in ordered[:count]]
