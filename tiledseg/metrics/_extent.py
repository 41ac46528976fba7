"""Where classes are, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from ._labels import labels_of


class Extents:
    """Bounding boxes of label values."""

    def __init__(self) -> None:
        self._boxes: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def add(self, labels: NDArray[Any], valid: NDArray[np.bool_], start: tuple[int, ...]) -> None:
        """Take note of a block.

        Args:
            labels: Label values.
            valid: Which of them count.
            start: Index of the block's first sample in the image.
        """
        coded = np.zeros(labels.shape, np.int32)
        coded[valid] = labels_of(labels[valid], "a class map")
        coded[valid] += 1  # 0 is nothing to find_objects
        for label, found in enumerate(find_objects(coded)):
            if found is not None:
                low = tuple(a + s.start for a, s in zip(start, found, strict=True))
                high = tuple(a + s.stop for a, s in zip(start, found, strict=True))
                self._join(label, low, high)

    def box(self, label: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return first and past-the-last index per axis of a label value, None where it is not."""
        return self._boxes.get(label)

    def _join(self, label: int, low: tuple[int, ...], high: tuple[int, ...]) -> None:
        before = self._boxes.get(label)
        if before is not None:
            low = tuple(map(min, before[0], low))
            high = tuple(map(max, before[1], high))
        self._boxes[label] = (low, high)
