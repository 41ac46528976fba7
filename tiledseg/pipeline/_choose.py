"""Which runtime: the fastest whose class map is the reference's, measured on the image itself."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from math import prod
from pathlib import Path
from typing import Any

from ..engine import Footprint, calibrate, machine
from ..models import (
    AGREEMENT,
    Model,
    Runtime,
    Trial,
    cache_folder,
    class_maps,
    reference,
    try_out,
)
from ..tiling import TilePlan
from ._image import View
from ._network import Networks

#: Seconds of work for the first candidate below which looking for a faster one does not pay.
_SHORT = 60.0
_PACKAGES = ("tiledseg", "torch", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Choice:
    """How the model is run, and why.

    Args:
        runtime: Library and precision.
        why: A few words for the report.
        trials: What was measured.
    """

    runtime: Runtime
    why: str
    trials: tuple[Trial, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return what a report says of it."""
        told: dict[str, Any] = {"runtime": f"{self.runtime} ({self.why})"}
        for t in self.trials:
            figures = f"{t.seconds:.3f} s a window, {t.agreement or 0:.4%} of samples agree"
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


@dataclass(frozen=True)
class Question:
    """What the choice depends on.

    Args:
        networks: What can be opened.
        first: The model in its first candidate runtime.
        plan: The plan, its runtime still open.
        microbatch: What the user asked for, or None.
        view: The image.
        before: Runtime of unfinished work, or None.
        room: Host bytes of the budget.
    """

    networks: Networks
    first: Model
    plan: TilePlan
    microbatch: int | None
    view: View
    before: Runtime | None
    room: int

    def ready(self, choice: Choice, model: Model | None = None) -> Chosen:
        """Open and measure the model of a choice."""
        model = model or self.networks.open(choice.runtime)
        count = self.microbatch or self.usual_microbatch(choice.runtime)
        name, precision = choice.runtime
        plan = replace(self.plan, microbatch=count, runtime=name, precision=precision)
        return Chosen(model, choice, plan, calibrate(model, plan))

    def usual_microbatch(self, runtime: Runtime) -> int:
        """Return the windows per call that suit a runtime."""
        windows = prod(len(axis) for axis in self.plan.starts)
        if self.first.device.type == "cuda":
            return min(8 if self.plan.grid.ndim == 2 else 2, windows)
        if runtime.name == "openvino":  # windows run side by side: less waiting for one another
            return min(self.plan.threads, 4, windows)
        # torch's fp32 3-D convolution at batch 1 takes another, 2.5 times slower, kernel.
        return min(2, windows) if self.plan.grid.ndim == 3 and "torch" in runtime.name else 1


def choose(question: Question) -> Chosen:
    """Return the model in the runtime to use."""
    candidates = question.networks.candidates(question.first)
    if len(candidates) == 1:
        return question.ready(Choice(candidates[0], "asked for"), question.first)
    if question.before in candidates:
        return question.ready(Choice(question.before, "as the unfinished work"))
    ready = question.ready(Choice(candidates[0], "the run is short"), question.first)
    if ready.plan.planned / ready.plan.microbatch * ready.footprint.seconds < _SHORT:
        return ready
    choice = _probed(question, candidates) or _remembered(question, candidates)
    if choice is None and _holds(ready.footprint) > question.room:
        return replace(ready, choice=Choice(candidates[0], "no memory to try others"))
    choice = choice or _measured(question, candidates)
    if choice.runtime == candidates[0]:
        return replace(ready, choice=choice)
    del ready  # its memory is not the next one's
    return question.ready(choice)


def _holds(footprint: Footprint) -> int:
    """Return the host bytes while two runtimes are compared: neither is larger than the first."""
    return footprint.reserved + 2 * footprint.workspace


# --------------------------------------------------------------------- measuring


def _measured(question: Question, candidates: tuple[Runtime, ...]) -> Choice:
    """Try every candidate on windows of the image and remember the outcome."""
    windows = question.view.windows(question.plan)
    if windows is None:
        return Choice(candidates[0], "nothing was measured: no window of the sample is valid")
    plain = question.first
    if plain.runtime != reference(plain.card):
        plain = question.networks.open(reference(plain.card))
    expected = class_maps(plain, windows, question.usual_microbatch(plain.runtime))
    trials = []
    for runtime in candidates:
        model = plain if runtime == plain.runtime else question.networks.open(runtime)
        count = question.microbatch or question.usual_microbatch(runtime)
        trials.append(try_out(model, windows, count, expected))
    choice = pick(tuple(trials), len(windows))
    _remember(question, candidates, choice, len(windows))
    return choice


def pick(trials: tuple[Trial, ...], windows: int) -> Choice:
    """Return the fastest that agrees well enough, else the first."""
    accepted = [t for t in trials if t.accepted]
    if not accepted:
        return Choice(trials[0].runtime, f"no other agreed on {AGREEMENT:.1%} of samples", trials)
    best = min(accepted, key=lambda t: t.seconds)
    return Choice(best.runtime, f"fastest of {len(trials)} on {windows} windows", trials)


def _probed(question: Question, candidates: tuple[Runtime, ...]) -> Choice | None:
    """Return what a probe on such a machine found for these windows, or None."""
    probe = question.networks.probe(question.first.card)
    same = probe is not None and (probe.machine, probe.device, probe.threads, probe.window) == (
        *(machine.name(), str(question.first.device), question.plan.threads),
        question.plan.window,
    )
    if probe is None or not same:
        return None
    trials = probe.fastest(candidates)
    if len(trials) < len(candidates):
        return None
    choice = pick(trials, 0)
    return replace(choice, why=f"fastest in the probe, on {probe.sample}")


# --------------------------------------------------------------------- remembering


def _file(question: Question, candidates: tuple[Runtime, ...]) -> Path:
    """Return where a measurement is kept; its name says what it depends on."""
    card, plan = question.first.card, question.plan
    versions = []
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    known = [
        [card.sha256, card.architecture, str(question.first.device), machine.name()],
        [plan.window, plan.threads, question.microbatch, [str(r) for r in candidates]],
        [question.view.source.fingerprint(), question.view.normalization.to_list(), versions],
    ]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
    return cache_folder() / "trials" / f"{digest[:32]}.json"


def _remembered(question: Question, candidates: tuple[Runtime, ...]) -> Choice | None:
    try:
        values = json.loads(_file(question, candidates).read_text())
        trials = tuple(Trial.from_dict(t) for t in values["trials"])
        choice = pick(trials, values["windows"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    return replace(choice, why=f"{choice.why}, measured before")


def _remember(
    question: Question, candidates: tuple[Runtime, ...], choice: Choice, windows: int
) -> None:
    """Keep a measurement; a cache that cannot be written only means measuring again."""
    path = _file(question, candidates)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        trials = [t.to_dict() for t in choice.trials]
        partial.write_text(json.dumps({"windows": windows, "trials": trials}))
        partial.replace(path)
