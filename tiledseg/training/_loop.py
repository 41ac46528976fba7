"""The loop: batch -> augmentation -> network -> loss -> step -> checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import TrainingFailed
from ._augment import Augment
from ._batches import NETWORK, Batch, Batches
from ._checkpoint import save_tensors
from ._losses import Loss
from ._precision import casting
from ._rates import rate_at
from ._recipe import Recipe
from ._state import State, Tensors
from ._stop import Stop
from ._world import World

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
#: Steps whose mean loss makes one report.
REPORTED = 10


@dataclass(frozen=True)
class StepsDone:
    """Steps were done.

    Args:
        step: Steps done so far.
        loss: Mean over those since the last report.
        rate: Learning rate.
        seconds: Spent on the training so far, earlier runs included.
        speed: Patches per second, since the last report.
        left: Estimate of the seconds that are left, with validations as long as the last one.
    """

    step: int
    loss: float
    rate: float
    seconds: float
    speed: float
    left: float


@dataclass(frozen=True)
class Validating:
    """A held-out case is about to be segmented.

    Args:
        step: After so many steps.
        case: Its number, from 1.
        cases: How many there are.
    """

    step: int
    case: int
    cases: int


@dataclass(frozen=True)
class Validated:
    """The held-out cases were segmented.

    Args:
        step: After so many steps.
        score: What is to be large.
        figures: By name.
        best: Whether it is the best so far.
    """

    step: int
    score: float
    figures: dict[str, Any]
    best: bool


@dataclass(frozen=True)
class Kept:
    """A checkpoint was written.

    Args:
        step: After so many steps.
        path: The file.
    """

    step: int
    path: Path


Event = StepsDone | Validating | Validated | Kept
#: Told the number of a held-out case, from 1, and how many there are.
OnCase = Callable[[int, int], None]
#: Segments the held-out cases with these weights: a score, larger is better, and figures by name.
Validate = Callable[[Tensors, OnCase], tuple[float, dict[str, Any]]]


@dataclass
class Loop:
    """Trains until the recipe's steps are done, or training ends early.

    Args:
        recipe: All settings.
        state: Where it stands.
        batches: What is learned from.
        augment: Varies them.
        loss: What is made small.
        world: This process among those of the training.
        folder: For checkpoints.
        validate: Of the first process, or None: nothing is held out.
        on_event: Told of what happens, in the first process.
        identity: What checkpoints are to hold besides: what must be the same to go on.
    """

    recipe: Recipe
    state: State
    batches: Batches
    augment: Augment
    loss: Loss
    world: World
    folder: Path
    validate: Validate | None
    on_event: Callable[[Event], None]
    identity: dict[str, Any]

    def __post_init__(self) -> None:
        self._wrapped = self.world.wrap(self.state.learner)
        self._losses: list[float] = []
        self._began = self._reported = self._saved = time.monotonic()
        self._before = self.state.numbers.seconds
        self._validating = 0.0  # seconds of the last validation

    def run(self) -> None:
        """Train.

        Raises:
            TrainingFailed: The loss is no number any more.
            OutputFailed: A checkpoint cannot be written.
            KeyboardInterrupt, SystemExit: It was asked to stop, and has kept where it stands.
        """
        numbers, run = self.state.numbers, self.recipe.run
        first = numbers.step * self.recipe.optimizer.accumulate
        if numbers.step == 0:
            self._save()  # tells early if it cannot be written
        with Stop() as stop, closing(self.batches.ahead(first)) as stream:
            while True:
                if self._is_to_validate():
                    with stop.at_once():  # what there is, is kept
                        self._validate()
                if numbers.step >= run.steps or numbers.ended:
                    return
                self._step(stream)
                if numbers.step % REPORTED == 0 or numbers.step == run.steps:
                    self._report()
                asked = self.world.largest(stop.asked or 0)
                if asked or self._is_to_validate() or self._is_due():
                    self._save()
                if asked:
                    stop.leave(asked)

    # --------------------------------------------------------------------- one step

    def _step(self, stream: Iterator[Batch]) -> None:
        numbers, spec = self.state.numbers, self.recipe.optimizer
        seeds = [self.recipe.run.seed, NETWORK, numbers.step, self.world.rank]
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        optimizer, scaler = self.state.optimizer, self.state.scaler
        for group in optimizer.param_groups:
            group["lr"] = rate_at(spec, numbers.step, self.recipe.run.steps)
        self._wrapped.train()
        total = 0.0
        for part in range(spec.accumulate):
            with self._syncing(part == spec.accumulate - 1):
                total += self._forth_and_back(next(stream))
        scaler.unscale_(optimizer)
        limit = float("inf") if spec.clip is None else spec.clip
        norm = nn.utils.clip_grad_norm_(self.state.learner.parameters(), limit)
        if not scaler.is_enabled():  # which leaves out such a step, and goes on
            self._require_number(float(norm), "gradient")
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        self.state.average()
        numbers.step += 1
        numbers.seconds = self._before + time.monotonic() - self._began
        self._losses.append(total)

    def _forth_and_back(self, batch: Batch) -> float:
        device = self.world.device
        moved = Batch(batch.number, batch.patches, batch.image.to(device), batch.truth.to(device))
        image, truth = self.augment(moved)
        with casting(self.state.numbers.precision, device):
            outputs = self._wrapped(image)
        loss = self.loss(outputs, truth) / self.recipe.optimizer.accumulate
        found = float(loss.detach())
        self._require_number(found, "loss")
        self.state.scaler.scale(loss).backward()
        return found

    def _syncing(self, last: bool) -> AbstractContextManager[Any]:
        """Average gradients over processes with the last pass of a step only."""
        if last or self.world.size == 1:
            return nullcontext()
        silent: AbstractContextManager[Any] = self._wrapped.no_sync()  # type: ignore[operator]  # of DDP
        return silent

    def _require_number(self, value: float, what: str) -> None:
        if not np.isfinite(value):
            spec = self.recipe.optimizer
            raise TrainingFailed(
                f"the {what} of step {self.state.numbers.step + 1} is {value}, which is no number "
                f"to go on with: lower optimizer.rate (it is {spec.rate:g}), set optimizer.clip "
                "or look at the labels with `tiledseg check`, and start again with --fresh; the "
                f"last checkpoint is in {self.folder}"
            )

    # --------------------------------------------------------------------- between steps

    def _report(self) -> None:
        numbers, now = self.state.numbers, time.monotonic()
        took = max(now - self._reported, 1e-9)
        count = len(self._losses)
        patches = count * self.recipe.patches.batch * self.recipe.optimizer.accumulate
        rate = rate_at(self.recipe.optimizer, numbers.step - 1, self.recipe.run.steps)
        left = (self.recipe.run.steps - numbers.step) * took / count
        left += self._validations_left() * self._validating
        loss = sum(self._losses) / count
        self._losses, self._reported = [], now
        if self.world.first:
            speed = patches / took
            self.on_event(StepsDone(numbers.step, loss, rate, numbers.seconds, speed, left))

    def _is_to_validate(self) -> bool:
        """Whether the held-out cases are to be segmented now."""
        numbers, run = self.state.numbers, self.recipe.run
        due = numbers.step == run.steps or (run.validate and numbers.step % run.validate == 0)
        return bool(due) and numbers.validated < numbers.step

    def _validations_left(self) -> int:
        """Return how many times the held-out cases are still to be segmented."""
        step, run = self.state.numbers.step, self.recipe.run
        every = run.validate or run.steps
        between = max(0, (run.steps - 1) // every - step // every)
        return between + int(self._is_to_validate() and step < run.steps) + 1  # and at the end

    def _is_due(self) -> bool:
        """Whether it is time for a checkpoint: by steps, or by the first process' clock."""
        if self.state.numbers.step % self.recipe.run.checkpoint == 0:
            return True
        minutes = (time.monotonic() - self._saved) / 60
        return bool(self.world.largest(int(minutes >= self.recipe.run.checkpoint_minutes)))

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self.world.first:
            path = self.folder / CHECKPOINT
            values = {"identity": self.identity, "state": self.state.plain()}
            save_tensors(path, self.state.tensors(), values)
            self.on_event(Kept(self.state.numbers.step, path))

    def _begin_case(self, case: int, cases: int) -> None:
        self.on_event(Validating(self.state.numbers.step, case, cases))

    def _validate(self) -> None:
        """Validate, keep the weights if they are the best, and decide whether to go on."""
        numbers, began = self.state.numbers, time.monotonic()
        found = None
        if self.world.first and self.validate is not None:
            found = self.validate(self.state.weights(), self._begin_case)
        shared = self.world.share(found)
        numbers.validated = numbers.step
        if shared is None:
            return
        score, figures = shared
        better = numbers.best is None or score > numbers.best
        numbers.stale = 0 if better else numbers.stale + 1
        if better:
            numbers.best, numbers.best_step, numbers.figures = score, numbers.step, figures
        patience = self.recipe.run.patience
        numbers.ended = patience is not None and numbers.stale >= patience
        if self.world.first:
            if better:
                save_tensors(self.folder / BEST, self.state.weights(), {"step": numbers.step})
            self.on_event(Validated(numbers.step, score, figures, better))
        numbers.seconds = self._before + time.monotonic() - self._began
        self._save()
        self._reported = time.monotonic()
        self._validating = self._reported - began
