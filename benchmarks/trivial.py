"""A tile that does nothing, for workers in other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from tiledseg.engine import Receipt
from tiledseg.tiling import Tile


@dataclass(frozen=True)
class Trivial:
    """Computes nothing in so many seconds."""

    seconds: float = 0.0

    def __call__(self, tile: Tile, on_windows: Callable[[int], None]) -> Receipt:
        """Wait."""
        time.sleep(self.seconds)
        on_windows(1)
        waited = {"reading": 0.0, "writing": 0.0}
        samples, amounts = (1,) * 6, (1.0,) * 6
        return Receipt(
            tile.index, 1, 0, 0, self.seconds, waited, samples, amounts, str(os.getpid())
        )
