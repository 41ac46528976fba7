"""One tile, read to write: reading, the model and writing overlap in three threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..budget import chunk_shape, strip_rows
from ..io import Roi, Source, read_padded
from ..models import Model
from ..normalize import Normalization, measured
from ..tiling import Tile, TilePlan
from . import _machine as machine
from ._events import Receipt
from ._lane import Lane, open_lane, out_of_memory
from ._retry import patiently
from ._rings import Strip
from ._store import WorkStore
from ._sweep import Decision, Slab, Sweep
from ._tally import ClassCount

T = TypeVar("T")


@dataclass(frozen=True)
class TileTask:
    """Computes tiles; shared by all threads of a run.

    Args:
        plan: The plan.
        source: The image, in the model's orientation and on its grid.
        normalization: Fitted, from the source's intensities to model units.
        model: The network.
        decision: What becomes of scores.
        store: Where results and receipts go.
        sizes: Area or volume of a sample in every row of axis 0, float64.
        roi: Where a result is wanted, on the grid of the result; None: everywhere.
        skip_below: Windows in which every intensity is below this are air: background, without
            asking the model. None: ask it always.
        shown: The image on the grid of the result, where that is not the model's.
    """

    plan: TilePlan
    source: Source
    normalization: Normalization
    model: Model
    decision: Decision
    store: WorkStore
    sizes: NDArray[np.float64]
    roi: Roi | None = None
    skip_below: float | None = None
    shown: Source | None = None

    def __call__(
        self, tile: Tile, on_windows: Callable[[int], None], halved: bool = False
    ) -> Receipt:
        """Compute one tile, write its core and its receipt.

        Args:
            tile: The tile.
            on_windows: Told of windows.
            halved: Begin with halves of the core: less memory, the same bytes.
        """
        began = time.perf_counter()
        windows = _Once(on_windows)
        receipt = patiently(lambda: self._compute(tile, windows.rewound(0), halved))
        receipt = replace(receipt, seconds=time.perf_counter() - began)
        patiently(lambda: self.store.keep(receipt))
        return receipt

    @cached_property
    def _lane(self) -> Lane:
        """One for all tiles: a GPU keeps memory for every stream it ever copied on."""
        return open_lane(self.normalization, self.model.device)

    def _compute(self, tile: Tile, windows: _Once, halved: bool = False) -> Receipt:
        """Compute a tile, in halves where memory runs out or did: the bytes are the same."""
        begun = windows.done
        halves = self.plan.halves(tile, chunk_shape(self.plan))
        if halves is None or not halved:
            try:
                return self._sweep(tile, windows)
            except Exception as error:
                if halves is None or not out_of_memory(error):
                    raise
        windows.rewound(begun)
        parts = [self._compute(half, windows) for half in halves]
        checksum = self.store.checksum(tile.core)
        return Receipt(
            tile.index,
            sum(part.evaluated for part in parts),
            sum(part.skipped for part in parts),
            checksum.labels,
            0.0,
            {key: sum(part.waited[key] for part in parts) for key in parts[0].waited},
            tuple(map(sum, zip(*(part.samples for part in parts), strict=True))),
            tuple(map(sum, zip(*(part.amounts for part in parts), strict=True))),
            machine.worker(),
            checksum.scores,
        )

    def _sweep(self, tile: Tile, on_windows: Callable[[int], None]) -> Receipt:
        depth = strip_rows(self.plan, self.source.blocks[0])
        waited = {"reading": 0.0, "writing": 0.0}
        count = ClassCount(np.unique(self.decision.labels), self.sizes)
        sweep = Sweep(self.model, self.plan, tile, self.decision)
        writer = self.store.writer(tile)
        with Ahead(self._strips(tile, depth)) as strips, Behind(waited) as later:
            timed = _timed(strips, waited)
            for slab in sweep.run(timed, depth, on_windows):
                count.add(slab)
                later.do(_bind(writer.write, slab))
            later.do(writer.finish)
        return Receipt(
            tile.index,
            sweep.evaluated,
            sweep.skipped,
            writer.checksum.labels,
            0.0,
            waited,
            tuple(count.samples.tolist()),
            tuple(count.amounts.tolist()),
            machine.worker(),
            writer.checksum.scores,
        )

    def _strips(self, tile: Tile, depth: int) -> Iterator[Strip]:
        """Read the tile's box in strips that end where the file's blocks end."""
        row, stop = tile.read.start[0], tile.read.stop[0]
        while row < stop:
            end = min(row - row % depth + depth, stop)
            box = tile.read.along(0, row, end)
            values, valid = read_padded(self.source, box, self.plan.padding)
            valid = measured(values, valid)
            wanted, asked = self._wanted(tile, box, valid)
            busy = wanted
            if self.skip_below is not None:
                busy = wanted & (values >= self.skip_below).any(axis=0)
            yield Strip(row, self._lane(values, valid), wanted, busy, asked)
            row = end

    def _wanted(
        self, tile: Tile, box: Box, valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], tuple[int, NDArray[np.bool_]] | None]:
        """Return where of the model's grid a result is wanted, and so on the result's own."""
        target, shown = self.plan.target, self.shown
        if target is None or shown is None:
            return (valid if self.roi is None else valid & self.roi.mask(box)), None
        place = target.users(box)
        wanted = np.zeros(place.shape, np.bool_)
        if place.size:
            wanted = shown.valid(place)
            if shown.dtype.kind == "f":
                wanted = measured(shown.read(place), wanted)
            if self.roi is not None:
                wanted = wanted & self.roi.mask(place)
        core = tile.core.along(0, *(f[0] for f in (place.start, place.stop)))
        asked = (place.start[0], wanted[core.relative_to(place).slices])
        return target.needed(wanted, box), asked


class _Once:
    """Tells of windows; those that another attempt computes again are not told of again."""

    def __init__(self, then: Callable[[int], None]) -> None:
        self._then = then
        self._told = self.done = 0

    def rewound(self, done: int) -> Self:
        """Go back to where so many windows were done."""
        self.done = done
        return self

    def __call__(self, count: int) -> None:
        self.done += count
        if self.done > self._told:
            new, self._told = self.done - self._told, self.done
            self._then(new)


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
    """Does one thing at a time in a thread of its own; an error surfaces at the next call.

    Args:
        waited: Takes the seconds spent waiting for it, as ``writing``.
    """

    def __init__(self, waited: dict[str, float]) -> None:
        self._waited = waited
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._last: Future[None] | None = None

    def do(self, action: Callable[[], None]) -> None:
        """Wait for the previous action, then start this one."""
        self._wait()
        self._last = self._pool.submit(action)

    def _wait(self) -> None:
        began = time.perf_counter()
        if self._last is not None:
            self._last.result()
        self._waited["writing"] += time.perf_counter() - began

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind is None:
            with self._pool:
                self._wait()
        self._pool.shutdown(wait=True)


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
