"""Sums over tiles: of samples per class within a tile, and of receipts over a run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ._events import Event, OnEvent, Receipt, RunStopped, TileDone, TileKept, TileLost
from ._sweep import Slab


class ClassCount:
    """Counts the samples of every class, and their area or volume.

    Args:
        labels: Ascending labels of the classes.
        sizes: Size of a sample in every row of axis 0 of the image.
    """

    def __init__(self, labels: NDArray[np.integer], sizes: NDArray[np.float64]) -> None:
        self._labels, self._sizes = labels, sizes
        self.samples = np.zeros(len(labels), dtype=np.int64)
        self.amounts = np.zeros(len(labels))

    def add(self, slab: Slab) -> None:
        """Count finished rows."""
        if not slab.box.size:
            return
        most = int(self._labels[-1]) + 1
        rows = [np.bincount(row.ravel(), minlength=most)[self._labels] for row in slab.labels]
        counts = np.array(rows, dtype=np.int64)
        self.samples += counts.sum(axis=0)
        self.amounts += self._sizes[slab.box.start[0] : slab.box.stop[0]] @ counts


@dataclass
class Tally:
    """What the receipts of a run add up to; its memory does not grow with their number.

    Args:
        tiles: How many tiles there are.
        classes: How many classes.
        then: Told of every event.
        done: Per tile, whether it has a receipt.
        kept: Tiles that an earlier run finished.
        lost: Tiles that failed, with the reason.
        evaluated: Windows the model saw, those of kept tiles included.
        skipped: Windows it did not need to see.
        seconds: Wall time of this run's tiles, added up.
        waited: Seconds of it that went by waiting, and for what.
        samples: Samples of every class, by ascending label.
        amounts: Their area or volume.
    """

    tiles: int
    classes: int
    then: OnEvent
    done: bytearray = field(init=False)
    kept: int = 0
    lost: dict[int, str] = field(default_factory=dict)
    evaluated: int = 0
    skipped: int = 0
    seconds: float = 0.0
    waited: dict[str, float] = field(default_factory=dict)
    samples: NDArray[np.int64] = field(init=False)
    amounts: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.done = bytearray(self.tiles)
        self.samples = np.zeros(self.classes, dtype=np.int64)
        self.amounts = np.zeros(self.classes)

    def __call__(self, event: Event) -> None:
        """Take note of an event.

        Raises:
            TiledsegError: The event says that the run cannot go on.
        """
        if isinstance(event, TileDone | TileKept):
            self._add(event.receipt)
        if isinstance(event, TileDone):
            self.seconds += event.receipt.seconds
            for key, seconds in event.receipt.waited.items():
                self.waited[key] = self.waited.get(key, 0.0) + seconds
        elif isinstance(event, TileKept):
            self.kept += 1
        elif isinstance(event, TileLost):
            self.lost[event.tile] = event.reason
        self.then(event)
        if isinstance(event, RunStopped):
            raise event.error

    def _add(self, receipt: Receipt) -> None:
        self.done[receipt.tile] = True
        self.evaluated += receipt.evaluated
        self.skipped += receipt.skipped
        self.samples += np.array(receipt.samples, dtype=np.int64)
        self.amounts += np.array(receipt.amounts)
