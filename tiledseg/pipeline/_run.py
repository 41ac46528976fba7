"""Executing a job: tiles -> work store -> outputs -> report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import report
from ..budget import format_bytes
from ..engine import (
    OnEvent,
    SerialRunner,
    Tally,
    ThreadRunner,
    TileKept,
    TileTask,
    Unit,
    WorkStore,
    assemble,
    locked,
)
from ..io import MemorySink, OrientedSink, Sink
from ..vector import row_measures
from ._job import Job, require_same
from ._outputs import label_sink, score_sink, whole_map, write_vectors
from ._report import Ran, warnings, write_report


@dataclass(frozen=True)
class Result:
    """What a run made.

    Args:
        outputs: Files written, the class map first; empty for an in-memory run.
        classes: Samples, share and area or volume per class.
        ran: Windows, times, memory, seam figure and lost tiles.
        warnings: What the user should know.
        array: The class map of an in-memory run, else None.
    """

    outputs: tuple[Path, ...]
    classes: tuple[report.ClassMeasure, ...]
    ran: Ran
    warnings: tuple[str, ...] = ()
    array: NDArray[Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the array."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "classes": [asdict(measure) for measure in self.classes],
            "ran": asdict(self.ran),
            "warnings": list(self.warnings),
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        lines = [f"warning: {text}" for text in self.warnings]
        width = max(len(c.name) for c in self.classes)
        lines += [
            f"  {c.name:{width}}  {c.share:7.2%}  {c.amount:,.2f} {c.unit}"
            for c in self.classes
            if c.samples
        ]
        ran = self.ran
        lines.append(
            f"{ran.evaluated} windows evaluated, {ran.skipped} skipped, in {ran.seconds[0]:.1f} s; "
            f"peak memory {format_bytes(ran.peak_memory)}"
        )
        lines.append(f"runtime {ran.runtime}")
        if ran.lost:
            lines.append(f"{len(ran.lost)} of {ran.tiles} tiles failed and are nodata")
        return "\n".join([*lines, *(f"wrote {path}" for path in self.outputs)])


def work_folder(out: Path) -> Path:
    """Return where unfinished work for ``out`` lies."""
    return out.with_name(out.name + ".work")


def execute(job: Job, out: Path | None, fresh: bool, on_event: OnEvent) -> Result:
    """Compute the missing tiles, write the outputs, and remove the work store.

    With lost tiles the outputs are written with nodata in their place and the store is kept, so
    that the next run computes only those.
    """
    began = time.perf_counter()
    labels, scores = label_sink(job, out), score_sink(job)
    with _store(job, out, fresh) as store:
        sizes, unit = row_measures(job.plan.grid)
        tally = Tally(len(job.plan), len(job.card.schema.unique), on_event)
        for receipt in store.receipts():
            tally(TileKept(receipt))
        _compute(job, store, tally, sizes)
        assembling = time.perf_counter()
        schema, limit = job.card.schema, max(job.overview[1].shape)
        with _committed(labels, scores) as outputs:
            assembled = assemble(store, schema.nodata, labels, scores, limit)
        measures = report.measure_classes(tally.samples, tally.amounts, unit, schema)
        if job.config.output.polygons or job.config.output.surfaces:
            outputs += write_vectors(job.config, whole_map(job, store), job.grid, job.card.schema)
        now = time.perf_counter()
        ran = Ran.of(job, tally, assembled.seam, (now - began, now - assembling))
        if out is not None and job.config.output.report:
            outputs += write_report(job, out, ran, measures, assembled.picks, tuple(outputs))
        if not tally.lost:
            store.remove()
    return Result(tuple(outputs), measures, ran, warnings(job, ran), _array(labels))


def _compute(job: Job, store: WorkStore, tally: Tally, sizes: NDArray[np.float64]) -> None:
    """Run every tile that has no receipt."""
    task = TileTask(
        job.plan,
        job.source,
        job.normalization,
        job.model,
        job.decision,
        store,
        sizes,
        job.roi,
        job.config.input.skip_below,
    )
    workers = job.config.runtime.workers
    runner = SerialRunner() if workers == 1 else ThreadRunner(workers)
    runner.run(Unit(task, tile, tally) for tile in job.plan if not tally.done[tile.index])
    for index in tally.lost:
        store.clear(job.plan[index].core)  # rows that were written before the fault


@contextmanager
def _store(job: Job, out: Path | None, fresh: bool) -> Iterator[WorkStore]:
    """Open the work store beside the output, or a passing one for an in-memory run."""
    schema, coding = job.card.schema, job.coding
    with tempfile.TemporaryDirectory(prefix="tiledseg-") as scratch, ExitStack() as stack:
        folder = work_folder(Path(scratch) / "array" if out is None else out)
        stack.enter_context(locked(folder))
        if not fresh and WorkStore.stored_plan(folder) is not None:
            require_same(job, folder)
            yield WorkStore(folder, job.plan)
            return
        yield WorkStore.create(
            folder,
            job.plan,
            job.identity,
            (schema.dtype, schema.nodata),
            None if coding is None else (coding, job.card.outputs),
        )


@contextmanager
def _committed(labels: Sink, scores: Sink | None) -> Iterator[list[Path]]:
    """Prepare the sinks, and commit all or abort all."""
    sinks = [labels] if scores is None else [labels, scores]
    outputs: list[Path] = []
    try:
        for sink in sinks:
            sink.prepare()
        yield outputs
        for sink in sinks:
            outputs += sink.commit()
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise


def _array(sink: Sink) -> NDArray[Any] | None:
    inner = sink.inner if isinstance(sink, OrientedSink) else sink
    return inner.array[0] if isinstance(inner, MemorySink) else None
