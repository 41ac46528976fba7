"""Many inputs, one pool of tiles: the next input is planned when a worker has nothing to do."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from ..budget import format_bytes, total_bytes
from ..config import RunConfig
from ..engine import (
    Event,
    RunStopped,
    TileDone,
    TileLost,
    Unit,
    machine,
)
from ..errors import BudgetExceeded, ClusterFailed, TiledsegError
from ..io import writing
from ..models import Model
from ..report import BatchFacts, InputRow, write_batch_report
from ._batch_result import BatchResult, InputEnded, InputPlanned, OnBatchEvent, ended_row
from ._inputs import Input, batch_folder
from ._job import Job, Shared
from ._kept import kept
from ._names import check_outputs, outputs_of, report_folder, work_folder
from ._network import Networks
from ._parts import Part, Parts
from ._prepare import prepare
from ._report import versions
from ._run import Run
from ._runners import Say, open_runner, threads_of


class Batch:
    """The runs of a batch, in one pool of tiles.

    Inputs are finished (assembled, reported) one after the other in a thread of their own, while
    tiles of others are computed.

    Args:
        base: The settings; ``out`` names the outputs of all inputs.
        models: The model, loaded or by path.
        inputs: What to segment.
        fresh: Discard unfinished and finished work of earlier runs.
        on_event: Told how every input goes, by one thread at a time.
        say: Told what a person wants to know besides: where a dashboard is.

    Raises:
        ConfigError: There is no such model, or it is not what the settings ask for.
    """

    def __init__(
        self,
        base: RunConfig,
        models: Model | Sequence[str | Path],
        inputs: Sequence[Input],
        fresh: bool,
        on_event: OnBatchEvent,
        say: Say | None = None,
    ) -> None:
        self._began = time.perf_counter()
        self._base, self._models, self._inputs = base, models, inputs
        self._fresh, self._on_event, self._say = fresh, on_event, say
        self._shared = Shared.of(Networks(base, models, threads_of(base)))
        self._waiting = deque(inputs)
        self._parts = Parts(self._end)
        self._rows: dict[Path, InputRow] = {}
        self._over_budget = 0
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._parts.close()

    def run(self) -> BatchResult:
        """Run every input that is not kept, and write the batch's report."""
        with open_runner(self._base, self._say) as runner:
            while self._waiting:  # once more for inputs that had no memory beside others
                runner.run(self._units())
                self._parts.end(all_of_them=True)
        seconds = time.perf_counter() - self._began
        rows = tuple(self._rows[one.out] for one in self._inputs)
        failed = sum(row.state == "failed" for row in rows)
        refused = bool(failed) and failed == self._over_budget
        return BatchResult(rows, self._report(rows, seconds), seconds, machine.peak(), refused)

    def _units(self) -> Iterator[Unit]:
        """Yield the tiles of one input after the other; have those finished that are through."""
        inputs, self._waiting = self._waiting, deque()
        for one in inputs:
            part = self._begin(one)
            if part is None:
                continue
            for unit in part.run.units():
                self._parts.end()
                if part.stopped is not None:
                    break
                part.flying.add(unit.tile.index)
                yield unit._replace(on_event=self._listener(part, unit.tile.index))
            part.given = True
            self._parts.end()

    # ----------------------------------------------------------------- one input

    def _begin(self, one: Input) -> Part | None:
        """Plan an input; None where it is kept, has failed, or must wait for others to end."""
        while True:
            try:
                return self._opened(one)
            except BudgetExceeded as error:
                # Behind one that waits already there is no hurry: inputs keep their order.
                if not self._waiting and self._parts.wait_for_one():
                    continue
                if self._parts:
                    self._waiting.append(one)
                else:
                    self._over_budget += 1
                    self._failed(one, error)
            except TiledsegError as error:
                self._failed(one, error)
            return None

    def _opened(self, one: Input) -> Part | None:
        """Plan an input and take it in; None where it is kept."""
        config = one.config(self._base)
        found = None if self._fresh else kept(one, config, self._shared.model.card)
        if found is not None:
            self._ended(found)
            return None
        with ExitStack() as stack:
            job = stack.enter_context(self._plan(one, config))
            self._tell(one.name, InputPlanned(job.plan.planned))
            run = Run(job, one.out, self._fresh, lambda event: self._tell(one.name, event))
            part = Part(one, stack.enter_context(run), stack.pop_all())
        self._parts.add(part)
        return part

    def _plan(self, one: Input, config: RunConfig) -> Job:
        """Decide how to run an input beside those in progress."""
        for output in outputs_of(config):
            if output.kind != "passing":
                with writing(output.path):
                    output.path.parent.mkdir(parents=True, exist_ok=True)
        check_outputs(outputs_of(config))
        # Processes of a cluster hold one tile each; what the driver holds is not theirs.
        beside = [] if config.runtime.distributed else list(self._parts)
        shared = replace(self._shared, held=sum(part.held for part in beside))
        where = None if self._fresh else work_folder(one.out, config.output.work)
        job = prepare(config, one.image, self._models, where, shared)
        try:
            for part in beside:  # its tiles may be larger than the new ones
                _require_room(part.run.job, job)
        except BudgetExceeded:
            job.close()
            raise
        self._learn(job)
        return job

    def _learn(self, job: Job) -> None:
        """Have the next inputs take over how one is run; what was measured of larger calls."""
        chosen = self._shared.chosen
        if job.plan.threads != self._shared.threads:
            return
        if chosen is None or (
            chosen.choice.runtime == job.choice.runtime and not chosen.covers(job.plan)
        ):
            self._shared = job.shared

    def _listener(self, part: Part, tile: int) -> Callable[[Event], None]:
        """Return what listens to a tile: an error ends the input, not the batch."""

        def listen(event: Event) -> None:
            with self._lock:
                try:
                    part.run.tally(event)
                except ClusterFailed:
                    raise
                except TiledsegError as error:
                    if not isinstance(event, RunStopped):
                        raise
                    part.stopped = part.stopped or error
                if isinstance(event, TileDone | TileLost | RunStopped):
                    part.flying.discard(tile)

        return listen

    def _end(self, part: Part) -> None:
        """Finish and close an input."""
        with part.stack:
            try:
                if part.stopped is not None:
                    raise part.stopped
                self._ended(ended_row(part.one, part.run.finish(self._parts.go_on)))
            except TiledsegError as error:
                self._failed(part.one, error)

    def _failed(self, one: Input, error: TiledsegError) -> None:
        problem = " ".join(str(error).split())
        self._ended(InputRow(one.name, one.image, one.out, "failed", problem=problem))

    def _ended(self, row: InputRow) -> None:
        self._rows[row.out] = row
        self._tell(row.name, InputEnded(row))

    def _tell(self, name: str, event: Event | InputPlanned | InputEnded) -> None:
        with self._lock:
            self._on_event(name, event)

    # ----------------------------------------------------------------- the end

    def _report(self, rows: tuple[InputRow, ...], seconds: float) -> tuple[Path, ...]:
        if not self._base.output.report:
            return ()
        card, chosen = self._shared.model.card, self._shared.chosen
        reports = {row.out: report_folder(row.out) for row in rows}
        facts = BatchFacts(
            title=f"{len(rows)} inputs: {card.name}",
            rows=rows,
            reports={out: r for out, r in reports.items() if (r / "report.html").is_file()},
            ran={
                "model": f"{card.name} ({(card.sha256 or '')[:12]})",
                "runtime": "nothing was run" if chosen is None else str(chosen.choice),
                **Counter(row.state for row in rows),
                "windows": sum(row.windows for row in rows),
                "seconds": round(seconds, 2),
                "workers": self._base.runtime.workers,
                "peak_memory": format_bytes(machine.peak()),
            },
            config=self._base.to_yaml(),
            versions=versions(),
        )
        return tuple(write_batch_report(batch_folder(self._base.out or ""), facts))


def _require_room(running: Job, new: Job) -> None:
    """Refuse an input whose image has no room beside the tiles of one in progress.

    Raises:
        BudgetExceeded: It has none.
    """
    need = total_bytes(running.plan, running.cost) + new.cost.fixed
    if need > new.budget.host:
        raise BudgetExceeded(
            f"{new.source.uri} beside {running.source.uri} needs {format_bytes(need)}, budget is "
            f"{format_bytes(new.budget.host)}: raise budget.memory"
        )
