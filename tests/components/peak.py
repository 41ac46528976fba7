"""Print the peak memory of finding the components of a map that is made as it is read."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tiledseg.box import Box
from tiledseg.components import find_components
from tiledseg.grid import Grid
from tiledseg.io import MemorySource


class Patches(MemorySource):
    """Six classes in patches of 32 samples and larger, as a function of the place."""

    def __init__(self, size: int) -> None:
        super().__init__(np.zeros((1, 1, 1), np.uint8))
        self.grid = Grid.local((size, size))
        self.blocks = (256, 256)

    def read(self, box: Box) -> Any:
        y, x = (np.arange(a, b) // 32 for a, b in zip(box.start, box.stop, strict=True))
        mixed = (y[:, None] * 2654435761 + x * 40503) ** 2 // 1009
        return (mixed % 6).astype(np.uint8)[None]

    def valid(self, box: Box) -> Any:
        return np.ones(box.shape, bool)


if __name__ == "__main__":
    found = find_components(Patches(int(sys.argv[1])), borders=True)
    assert found.table.sizes.sum() == int(sys.argv[1]) ** 2
    assert len(found.table) > 1000
    status = Path("/proc/self/status").read_text()  # ru_maxrss is at least that of the parent
    print(int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024)
