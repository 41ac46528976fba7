"""``python -m benchmarks.assembly``: what putting a class map together takes, from store to COG.

The store is made once; then one and more threads take turns. Prints a markdown table per part:
processor seconds of the assembling thread and of all threads, which other programs do not change,
and the least of the wall times, which they do.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from tiledseg.engine import WorkStore, assemble
from tiledseg.engine._sweep import Slab
from tiledseg.grid import Grid
from tiledseg.io import Sink, SinkSpec, create_sink
from tiledseg.labels import ClassSchema
from tiledseg.planning import ModelShape, TilingSpec, make_plan

SCHEMA = ClassSchema.of_names(list("abcdef"))
PARTS = ("store to GeoTIFF", "GeoTIFF to COG")

Clocks = tuple[float, float, float]


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assembly", description=__doc__)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--work", type=Path, default=Path("bench.work"))
    options = parser.parse_args()
    store = _store(options.work / f"assembly-{options.size}", options.size)
    taken: dict[int, list[tuple[Clocks, Clocks]]] = {n: [] for n in options.threads}
    digests = set()
    for _ in range(options.turns):
        for threads, turns in taken.items():
            path = options.work / "assembly.tif"
            spec = SinkSpec(store.plan.grid, SCHEMA.dtype, ("class",), SCHEMA.nodata, SCHEMA)
            sink = create_sink(path, spec, threads=threads)
            sink.prepare()
            turns.append((_timed(lambda sink=sink: _copy(store, sink)), _timed(sink.commit)))
            digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    print(f"{options.size} x {options.size} samples, {len(SCHEMA.unique)} classes; ", end="")
    print(f"{len(digests)} sha256.\n")
    print("| threads | part | assembling thread, CPU s | all threads, CPU s | least wall s |")
    print("|---|---|---|---|---|")
    for threads, turns in taken.items():
        for part, clocks in zip(PARTS, zip(*turns, strict=True), strict=True):
            own, every, wall = zip(*clocks, strict=True)
            cells = f"{median(own):.2f} | {median(every):.2f} | {min(wall):.2f}"
            print(f"| {threads} | {part} | {cells} |")


def _copy(store: WorkStore, sink: Sink) -> None:
    assemble(store, SCHEMA.nodata, sink, None, 1024)


def _timed(action: Callable[[], object]) -> Clocks:
    """Return CPU seconds of this thread and of all, and wall seconds."""
    clocks = (time.thread_time, time.process_time, time.perf_counter)
    began = [clock() for clock in clocks]
    action()
    own, every, wall = (clock() - start for clock, start in zip(clocks, began, strict=True))
    return own, every, wall


def _store(folder: Path, size: int) -> WorkStore:
    """Return a work store with a class map of ragged blots of 16 samples and 0.2 % noise."""
    grid, rng = Grid.local((size, size)), np.random.default_rng(0)
    plan = make_plan(grid, TilingSpec(core=(2048, 2048)), ModelShape((512, 512), 16, True, 0), 1, 1)
    store = WorkStore.create(folder, plan, {}, {}, (SCHEMA.dtype, SCHEMA.nodata), None)
    if (folder / "filled").exists():
        return store
    rows = store.chunk_rows
    for row in range(0, size, rows):
        box = grid.box.along(0, row, min(row + rows, size))
        coarse = rng.integers(0, 5, (box.shape[0] // 16 + 2, size // 16 + 2), np.uint8)
        labels = coarse.repeat(16, 0).repeat(16, 1)
        down, right = np.indices(box.shape) + rng.integers(0, 7, (2, *box.shape))
        labels = labels[down, right]
        labels[rng.random(box.shape) < 0.002] = 5
        store.put(Slab(box, labels, None))
    (folder / "filled").touch()
    return store


if __name__ == "__main__":
    main()
