"""One tile, read to write: reading, the model and writing overlap in three threads."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from ..budget import strip_rows
from ..io import Source, read_padded
from ..models import Model
from ..normalize import Normalization, measured
from ..tiling import Tile, TilePlan
from ._events import Receipt
from ._store import WorkStore
from ._sweep import ScoreCoding, Slab, Strip, Sweep

T = TypeVar("T")


@dataclass(frozen=True)
class TileTask:
    """Computes tiles; shared by all threads of a run.

    Args:
        plan: The plan.
        source: The image, in the model's orientation.
        normalization: Fitted, from the source's intensities to model units.
        model: The network.
        labels: Label of every output channel.
        nodata: Label of samples that were not measured.
        coding: How scores are stored, or None.
        store: Where results and receipts go.
    """

    plan: TilePlan
    source: Source
    normalization: Normalization
    model: Model
    labels: NDArray[Any]
    nodata: int
    coding: ScoreCoding | None
    store: WorkStore

    def __call__(self, tile: Tile, on_windows: Callable[[int], None]) -> Receipt:
        """Compute one tile, write its core and its receipt."""
        began = time.perf_counter()
        depth = strip_rows(self.plan, self.source.blocks[0])
        waited = {"reading": 0.0, "writing": 0.0}
        checksum = 0
        sweep = Sweep(self.model, self.plan, tile, self.labels, self.nodata, self.coding)
        writer = self.store.writer(tile)
        with Ahead(self._strips(tile, depth)) as strips, Behind() as later:
            timed = _timed(strips, waited)
            for slab in sweep.run(timed, depth, on_windows):
                checksum = zlib.crc32(slab.labels.tobytes(), checksum)
                paused = time.perf_counter()
                later.do(_bind(writer.write, slab))
                waited["writing"] += time.perf_counter() - paused
            later.do(writer.finish)
        receipt = Receipt(
            tile.index,
            sweep.evaluated,
            sweep.skipped,
            checksum,
            time.perf_counter() - began,
            waited,
        )
        self.store.keep(receipt)
        return receipt

    def _strips(self, tile: Tile, depth: int) -> Iterator[Strip]:
        """Read the tile's box in strips that end where the file's blocks end."""
        row, stop = tile.read.start[0], tile.read.stop[0]
        while row < stop:
            end = min(row - row % depth + depth, stop)
            box = tile.read.along(0, row, end)
            values, valid = read_padded(self.source, box, self.plan.padding)
            valid = measured(values, valid)
            yield Strip(row, self.normalization(values, valid), valid)
            row = end


class Ahead(Iterator[T]):
    """Runs an iterator one item ahead in a thread of its own."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._next: Future[T] = self._pool.submit(next, items)

    def __next__(self) -> T:
        item = self._next.result()
        self._next = self._pool.submit(next, self._items)
        return item

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class Behind:
    """Does one thing at a time in a thread of its own; an error surfaces at the next call."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._last: Future[None] | None = None

    def do(self, action: Callable[[], None]) -> None:
        """Wait for the previous action, then start this one."""
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(action)

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self._pool.shutdown(wait=True)
        if kind is None and self._last is not None:
            self._last.result()


def _bind(write: Callable[[Slab], None], slab: Slab) -> Callable[[], None]:
    return lambda: write(slab)


def _timed(items: Iterator[T], waited: dict[str, float]) -> Iterator[T]:
    """Count the seconds spent waiting for items."""
    while True:
        began = time.perf_counter()
        try:
            item = next(items)
        except StopIteration:
            return
        waited["reading"] += time.perf_counter() - began
        yield item
