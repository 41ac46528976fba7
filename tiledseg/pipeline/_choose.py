"""Which runtime: the fastest whose class map is the reference's, measured on the image itself."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from ..budget import format_bytes
from ..engine import Footprint, calibrate, call_seconds, machine
from ..errors import BudgetExceeded
from ..models import (
    AGREEMENT,
    Model,
    Runtime,
    Trial,
    cache_folder,
    class_maps,
    fastest_trial,
    library_versions,
    try_runtime,
    using_threads,
    write_whole,
)
from ..tiling import TilePlan
from ._image import View
from ._network import Networks

#: Seconds of work for the first candidate below which looking for a faster one does not pay.
_SHORT = 60.0
#: Bytes of raw outputs above which windows do not run side by side: such ones take long enough.
_RAW = 256_000_000


@dataclass(frozen=True)
class Choice:
    """How the model is run, and why.

    Args:
        runtime: Library and precision.
        why: A few words for the report.
        trials: What was measured.
        microbatch: Windows per call of unfinished work, or None.
    """

    runtime: Runtime
    why: str
    trials: tuple[Trial, ...] = ()
    microbatch: int | None = None

    def __str__(self) -> str:
        return f"{self.runtime} ({self.why})"

    def describe(self) -> dict[str, Any]:
        """Return what a report says of it."""
        told: dict[str, Any] = {"runtime": str(self)}
        if not self.trials:
            told["agreement_with_reference"] = "not measured"
        for t in self.trials:
            figures = f"{t.seconds or 0:.3f} s a window, {t.agreement or 0:.4%} of samples agree"
            told.setdefault("runtimes_tried", {})[str(t.runtime)] = t.problem or figures
            if t.runtime == self.runtime:
                told["agreement_with_reference"] = f"{t.agreement or 0:.4%}"
        return told


@dataclass(frozen=True)
class Chosen:
    """A model ready to run, how it was chosen, and what it holds.

    Args:
        model: The model.
        choice: How it was chosen.
        plan: The plan with runtime, precision and microbatch.
        footprint: Memory and time of a call.
    """

    model: Model
    choice: Choice
    plan: TilePlan
    footprint: Footprint

    def covers(self, plan: TilePlan) -> bool:
        """Whether calls of another plan hold no more than what was measured."""
        mine, other = self.plan, plan
        if (mine.runtime, mine.precision, mine.threads) != (
            *(other.runtime, other.precision, other.threads),
        ):
            return False
        sizes = (mine.microbatch, *mine.window), (other.microbatch, *other.window)
        return all(have >= need for have, need in zip(*sizes, strict=True))


@dataclass(frozen=True)
class Question:
    """What the choice depends on.

    Args:
        networks: What can be opened.
        first: The model in its first candidate runtime.
        plan: The plan, its runtime still open.
        microbatch: What the user asked for, or None.
        view: The image.
        before: How unfinished work was run, or None.
        room: Host bytes of the budget.
    """

    networks: Networks
    first: Model
    plan: TilePlan
    microbatch: int | None
    view: View
    before: Choice | None
    room: int

    def ready(self, choice: Choice, known: Chosen | None = None) -> Chosen:
        """Open and measure the model of a choice; what is known of larger calls will do."""
        same = self.first.runtime == choice.runtime
        model = self.first if same else self.networks.open(choice.runtime)
        count = self.microbatch or choice.microbatch or self.count(choice.runtime)
        self.check_room(count)
        name, precision = choice.runtime
        plan = replace(self.plan, microbatch=count, runtime=name, precision=precision)
        if known is not None and known.covers(plan):
            return Chosen(model, choice, plan, known.footprint)
        return Chosen(model, choice, plan, calibrate(model, plan))

    def count(self, runtime: Runtime) -> int:
        """Return the windows per call: as asked for, else what suits a runtime."""
        own = self.first.card.microbatch if runtime.name in ("torch", "compiled") else None
        return self.microbatch or own or min(self._usual(runtime), prod(map(len, self.plan.starts)))

    def check_room(self, microbatch: int) -> None:
        """Refuse a call whose in- and output alone are beyond the budget, before it is made.

        Raises:
            BudgetExceeded: They are.
        """
        card = self.first.card
        channels = len(card.channels) + self.first.stacked * card.outputs
        need = microbatch * prod(self.plan.window) * 4 * channels
        if self.first.device.type == "cpu" and need > self.room:
            raise BudgetExceeded(
                f"{microbatch} windows a call hold {format_bytes(need)} of in- and output alone, "
                f"budget is {format_bytes(self.room)}: lower runtime.microbatch or tiling.window, "
                "or raise budget.memory"
            )

    def _usual(self, runtime: Runtime) -> int:
        if self.first.device.type == "cuda":
            return 8 if self.plan.grid.ndim == 2 else 2
        if runtime.name == "openvino":  # windows run side by side: less waiting for one another
            raw = self.first.card.outputs * prod(self.plan.window) * 4
            most = max(1, min(self.plan.threads, 4, _RAW // raw))
            return 1 << (most.bit_length() - 1)  # a power of two, as a probe tries
        # torch's fp32 3-D convolution at batch 1 takes another, 2.5 times slower, kernel.
        return 2 if self.plan.grid.ndim == 3 and runtime.name in ("torch", "compiled") else 1


def begun(plan: TilePlan) -> Choice:
    """Return how unfinished work was run: half a map in another runtime would be nobody's map."""
    runtime = Runtime(plan.runtime, plan.precision)  # type: ignore[arg-type]  # as it was stored
    return Choice(runtime, "as the unfinished work", microbatch=plan.microbatch)


def choose(question: Question) -> Chosen:
    """Return the model in the runtime to use, tried with the plan's threads."""
    with using_threads(question.plan.threads):
        return _chosen(question)


def _chosen(question: Question) -> Chosen:
    candidates = question.networks.candidates
    if question.before is not None and question.before.runtime in candidates:
        return question.ready(question.before)
    if len(candidates) == 1:
        return question.ready(Choice(candidates[0], "as asked, or the only one there is"))
    known = _probed(question) or _remembered(question)
    if known is not None:
        return question.ready(known)
    ready = question.ready(Choice(candidates[0], "the run is short: nothing was measured"))
    calls = ready.plan.planned / ready.plan.microbatch
    # The first call may export and compile; only a second one tells how long the run takes.
    if (
        ready.footprint.seconds * calls < _SHORT
        or call_seconds(ready.model, ready.plan) * calls < _SHORT
    ):
        return ready
    if ready.footprint.reserved + 2 * ready.footprint.workspace > question.room:
        return replace(ready, choice=Choice(candidates[0], "no memory to try others"))
    choice = _measured(question)
    if choice.runtime == candidates[0]:
        return replace(ready, choice=choice)
    return question.ready(choice)


def follow(question: Question, known: Chosen) -> Chosen:
    """Return the model as it ran for another input of the same batch; nothing is tried anew."""
    before = question.before
    if before is not None and before.runtime != known.choice.runtime:
        return question.ready(before)
    count = None if before is None else before.microbatch
    choice = Choice(known.choice.runtime, "as for the batch's first input", microbatch=count)
    return question.ready(choice, known)


# --------------------------------------------------------------------- measuring


def _measured(question: Question) -> Choice:
    """Try every candidate on windows of the image and remember the outcome."""
    networks = question.networks
    windows = question.view.windows(question.plan)
    if windows is None:
        why = "nothing was measured: no window of the sample is valid"
        return Choice(networks.candidates[0], why)
    expected = class_maps(
        _opened(question, networks.reference), windows, question.count(networks.reference)
    )
    if bool((expected == expected.flatten()[0]).all()):  # one class all over agrees with everything
        why = "nothing was measured: the sample is of one class"
        return Choice(networks.candidates[0], why)

    trials: list[Trial] = []
    for runtime in networks.candidates:
        load = partial(_opened, question, runtime)
        trials += try_runtime(runtime, load, windows, [question.count(runtime)], expected)
    choice = pick(tuple(trials), f"on {len(windows)} windows")
    if not any(trial.problem for trial in choice.trials):  # what fails may be mended
        _remember(question, choice, len(windows))
    return choice


def _opened(question: Question, runtime: Runtime) -> Model:
    question.check_room(question.count(runtime))
    same = question.first.runtime == runtime
    return question.first if same else question.networks.open(runtime)


def pick(trials: tuple[Trial, ...], where: str) -> Choice:
    """Return the fastest that agrees well enough, else the first."""
    best = fastest_trial(trials)
    why = f"fastest of {len(trials)} {where}"
    if not best.accepted:
        why = f"no other agreed on {AGREEMENT:.1%} of samples"
    return Choice(best.runtime, why, trials)


def _probed(question: Question) -> Choice | None:
    """Return what a probe on an image found on such a machine, or None.

    Its windows may have been others: which runtime is the fastest hardly depends on them.
    """
    networks = question.networks
    probe = networks.probe(question.first.card)
    if probe is None or not probe.on_image:
        return None
    device = question.first.device
    here = (machine.name(device), str(device), question.plan.threads, library_versions())
    if (probe.machine, probe.device, probe.threads, probe.versions) != here:
        return None
    found = {(t.runtime, t.microbatch): t for t in probe.trials}
    wanted = [(runtime, question.count(runtime)) for runtime in networks.candidates]
    trials = tuple(found[key] for key in wanted if key in found)
    if len(trials) < len(networks.candidates):
        return None
    return pick(trials, f"in the probe, on {probe.sample}")


# --------------------------------------------------------------------- remembering


def _file(question: Question) -> Path:
    """Return where a measurement is kept; its name says what it depends on."""
    card, plan, networks = question.first.card, question.plan, question.networks
    known = [
        [card.sha256, card.architecture, machine.name(question.first.device)],
        [plan.window, plan.threads, question.microbatch, [str(r) for r in networks.candidates]],
        [question.view.source.fingerprint(), question.view.source.channels],
        question.view.grids.normalization.to_list(),
        library_versions(),
    ]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    return cache_folder() / "trials" / f"{digest[:32]}.json"


def _remembered(question: Question) -> Choice | None:
    try:
        values = json.loads(_file(question).read_text())
        trials = tuple(Trial.from_dict(t) for t in values["trials"])
        return pick(trials, f"on {int(values['windows'])} windows, measured before")
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _remember(question: Question, choice: Choice, windows: int) -> None:
    """Keep a measurement; a cache that cannot be written only means measuring again."""
    found = {"windows": windows, "trials": [t.to_dict() for t in choice.trials]}
    with suppress(OSError):
        write_whole(_file(question), json.dumps(found, allow_nan=False))
