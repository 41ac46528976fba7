"""Plain samples in a file, read by box.

Plane by plane, with ordinary reads: a memory map would count every page it ever touched as
resident, and so break the memory budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...errors import DamagedInput


@dataclass(frozen=True, slots=True)
class RawVolume:
    """Samples of (frames, z, y, x) in C order.

    Args:
        path: The file.
        dtype: Of the samples in the file, byte order included.
        shape: (z, y, x).
        offset: Byte of the first sample.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int = 0

    def read(self, frame: int, box: Box) -> NDArray[Any]:
        """Return the samples of ``box`` in one frame, box.shape."""
        plane = prod(self.shape[1:])
        values = np.empty(box.shape, self.dtype)
        with self.path.open("rb") as file:
            file.seek(
                self.offset + (frame * self.shape[0] + box.start[0]) * plane * self.dtype.itemsize
            )
            for row in range(box.shape[0]):
                whole = np.fromfile(file, self.dtype, plane)
                if len(whole) < plane:
                    raise DamagedInput(
                        f"{self.path} is damaged: it ends within slice {box.start[0] + row}"
                    )
                values[row] = whole.reshape(self.shape[1:])[box.slices[1:]]
        return values
