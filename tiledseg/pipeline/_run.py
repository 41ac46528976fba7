"""Executing a job: tiles -> work store -> outputs -> report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from .. import report
from ..engine import (
    Event,
    OnEvent,
    Progress,
    Tally,
    Task,
    TileKept,
    TileLog,
    Unit,
    assemble,
)
from ..io import CroppedSink, MemorySink, OrientedSink, Sink
from ..vector import row_measures
from ._after import Cleaned, clean
from ._job import Job
from ._outputs import (
    Written,
    label_sink,
    score_sink,
    with_cropped_off,
    write_vectors,
)
from ._own_map import write_own
from ._remote import RemoteTask
from ._report import Ran, warnings, write_report
from ._result import Result
from ._runners import Say, open_runner
from ._shard import Shard, ShardResult
from ._store import open_store
from ._tasks import tile_task


class Run(AbstractContextManager["Run"]):
    """A job in progress: its work store, what its tiles add up to, and how it ends.

    Args:
        job: What was decided.
        out: The class map to write; None keeps it in memory.
        fresh: Discard unfinished work.
        on_event: Told of windows and tiles.
        shard: The part of the tiles to compute, beside other processes; None: all, alone.
    """

    def __init__(
        self, job: Job, out: Path | None, fresh: bool, on_event: OnEvent, shard: Shard | None = None
    ) -> None:
        self._began = time.perf_counter()
        self.job, self.out, self._fresh, self._shard = job, out, fresh, shard
        self.tiles = range(len(job.plan)) if shard is None else shard.tiles(job.plan)
        self.tally = Tally(len(job.plan), len(job.card.schema.unique), on_event)
        self._labels, self._scores = label_sink(job, out), score_sink(job)
        self._sizes, self._unit = row_measures(job.plan.output)
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            shared = self._shard is not None
            opened = open_store(self.job, self.out, self._fresh, shared)
            self._store = stack.enter_context(opened)
            self._listen(stack)
            for receipt in self._store.receipts(self.tiles):
                if len(receipt.samples) == self.tally.classes:
                    self.tally(TileKept(receipt))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.__exit__(*exc)  # type: ignore[arg-type]  # as it was handed over

    def _listen(self, stack: ExitStack) -> None:
        """Have progress and log told of everything, too."""
        listeners = [self.tally.then]
        log = self.job.config.output.log
        if log is not None:
            listeners.append(stack.enter_context(TileLog(Path(log), self.job.source.uri)))
        if self.out is not None:
            role = "all tiles" if self._shard is None else f"shard {self._shard}"
            self._progress = Progress(self._store.folder, role, len(self.tiles))
            listeners.append(stack.enter_context(self._progress))

        def tell(event: Event) -> None:
            for listener in listeners:
                listener(event)

        self.tally.then = tell

    def units(self) -> Iterator[Unit]:
        """Yield the tiles, all or those of the shard, that have no receipt."""
        task = self._task()
        smaller = replace(task, halved=True) if isinstance(task, RemoteTask) else None
        for index in self.tiles:
            if not self.tally.done[index]:
                yield Unit(task, self.job.plan[index], self.tally, smaller)

    def _task(self) -> Task:
        if self.job.config.runtime.distributed:
            return RemoteTask.of(self._store)
        job = self.job
        return tile_task(job.config, self._store, job.grids, job.model, job.roi)

    def finish(self, go_on: Callable[[], None] | None = None) -> Result:
        """Write the outputs, and remove the work store.

        Lost tiles are nodata there, and the store is kept, so that the next run computes only
        those.

        Args:
            go_on: Called now and then; what it raises ends this, and leaves the store as it is.
        """
        job, tally, store = self.job, self.tally, self._store
        for index in tally.lost:
            store.clear(job.plan[index].core)  # rows that were written before the fault
        assembling = time.perf_counter()
        schema, limit = job.card.schema, max(job.overview[1].shape)
        with _committed(self._labels, self._scores) as outputs:
            direct, cleaned = None if job.stages else self._labels, None
            assembled = assemble(store, schema.nodata, direct, self._scores, limit, go_on)
            if job.stages:
                cleaned = clean(job, job.stages, store, self._labels, tally.then, go_on)
        written = self._written(outputs, assembled.picks, cleaned)
        now = time.perf_counter()
        ran = Ran.of(job, tally, assembled.seam, (now - self._began, now - assembling))
        if cleaned is not None:
            left = prod(job.grid.shape) - int(cleaned.samples.sum())
            ran = replace(ran, changed=cleaned.changed, unmeasured=left)
        made, measures = written.outputs, written.measures
        if self.out is not None and job.config.output.report:
            made += write_report(job, self.out, ran, written, tuple(made))
        if not tally.lost:
            if self._progress is not None:
                self._progress.stop()
            store.remove()
        return Result(tuple(made), measures, ran, warnings(job, ran), written.class_map)

    def _written(
        self, outputs: list[Path], picks: NDArray[Any], cleaned: Cleaned | None
    ) -> Written:
        """Write what is written besides class map and scores, or what a bundle makes of these."""
        job, schema = self.job, self.job.card.schema
        if job.own is not None and isinstance(self._scores, MemorySink):
            return write_own(job, job.own, self.out, self._scores.array, self.tally.lost)
        counted = with_cropped_off(job, self.tally, self._sizes)
        if cleaned is not None:
            counted, picks = (cleaned.samples, cleaned.amounts), cleaned.picks
        measures = report.measure_classes(*counted, self._unit, schema)
        class_map = _array(self._labels)
        labels = Path(str(self.out)) if class_map is None else class_map
        outputs += write_vectors(job, labels, job.grid, schema)
        shown = (schema, job.plan.output, job.overview, picks)
        return Written(outputs, measures, class_map, *shown)


def execute(
    job: Job, out: Path | None, fresh: bool, on_event: OnEvent, say: Say | None = None
) -> Result:
    """Compute the missing tiles and write the outputs.

    Args:
        job: What was decided.
        out: The class map to write; None keeps it in memory.
        fresh: Discard unfinished work.
        on_event: Told of windows and tiles.
        say: Told what a person wants to know besides: where a dashboard is.
    """
    with Run(job, out, fresh, on_event) as run, open_runner(job.config, say) as runner:
        runner.run(run.units())
        return run.finish()


def execute_shard(
    job: Job, out: Path, shard: Shard, on_event: OnEvent, say: Say | None = None
) -> ShardResult:
    """Compute the missing tiles of a shard and leave them in the work store."""
    began = time.perf_counter()
    with Run(job, out, False, on_event, shard) as run, open_runner(job.config, say) as runner:
        runner.run(run.units())
        return ShardResult.of(shard, run.tally, len(run.tiles), time.perf_counter() - began)


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
    inner = sink
    while isinstance(inner, OrientedSink | CroppedSink):
        inner = inner.inner
    return inner.array[0] if isinstance(inner, MemorySink) else None
