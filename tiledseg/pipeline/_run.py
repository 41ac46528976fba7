"""Executing a job: tiles -> work store -> outputs -> report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from .. import report
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
from ._names import work_folder
from ._outputs import label_sink, score_sink, whole_map, write_vectors
from ._report import Ran, warnings, write_report
from ._result import Result


class Run(AbstractContextManager["Run"]):
    """A job in progress: its work store, what its tiles add up to, and how it ends.

    Args:
        job: What was decided.
        out: The class map to write; None keeps it in memory.
        fresh: Discard unfinished work.
        on_event: Told of windows and tiles.
    """

    def __init__(self, job: Job, out: Path | None, fresh: bool, on_event: OnEvent) -> None:
        self._began = time.perf_counter()
        self.job, self.out, self._fresh = job, out, fresh
        self.tally = Tally(len(job.plan), len(job.card.schema.unique), on_event)
        self._labels, self._scores = label_sink(job, out), score_sink(job)
        self._sizes, self._unit = row_measures(job.plan.grid)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._store = self._stack.enter_context(_store(self.job, self.out, self._fresh))
        for receipt in self._store.receipts():
            self.tally(TileKept(receipt))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def units(self) -> Iterator[Unit]:
        """Yield the tiles that have no receipt."""
        task = TileTask(
            self.job.plan,
            self.job.source,
            self.job.normalization,
            self.job.model,
            self.job.decision,
            self._store,
            self._sizes,
            self.job.roi,
            self.job.config.input.skip_below,
        )
        for tile in self.job.plan:
            if not self.tally.done[tile.index]:
                yield Unit(task, tile, self.tally)

    def finish(self) -> Result:
        """Write the outputs, and remove the work store.

        Lost tiles are nodata there, and the store is kept, so that the next run computes only
        those.
        """
        job, tally, store = self.job, self.tally, self._store
        for index in tally.lost:
            store.clear(job.plan[index].core)  # rows that were written before the fault
        assembling = time.perf_counter()
        schema, limit = job.card.schema, max(job.overview[1].shape)
        with _committed(self._labels, self._scores) as outputs:
            assembled = assemble(store, schema.nodata, self._labels, self._scores, limit)
        measures = report.measure_classes(tally.samples, tally.amounts, self._unit, schema)
        if job.config.output.polygons or job.config.output.surfaces:
            outputs += write_vectors(job.config, whole_map(job, store), job.grid, schema)
        now = time.perf_counter()
        ran = Ran.of(job, tally, assembled.seam, (now - self._began, now - assembling))
        if self.out is not None and job.config.output.report:
            outputs += write_report(job, self.out, ran, measures, assembled.picks, tuple(outputs))
        if not tally.lost:
            store.remove()
        return Result(tuple(outputs), measures, ran, warnings(job, ran), _array(self._labels))


def execute(job: Job, out: Path | None, fresh: bool, on_event: OnEvent) -> Result:
    """Compute the missing tiles and write the outputs."""
    workers = job.config.runtime.workers
    runner = SerialRunner() if workers == 1 else ThreadRunner(workers)
    with Run(job, out, fresh, on_event) as run:
        runner.run(run.units())
        return run.finish()


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
