"""Trying a model out on some windows: how fast it is, and whether it still says the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..errors import TiledsegError
from ._base import Model, Runtime
from ._scores import activate, decide, paint

#: Share of samples whose class must be that of the reference: below it a faster way to run a model
#: is never taken unasked.
AGREEMENT = 0.999
#: Seconds of timed calls that make a figure, and most calls.
_SECONDS, _CALLS = 1.0, 5
#: What a runtime that cannot run a model raises; other errors are faults of the programme.
FAILURES = (TiledsegError, RuntimeError, MemoryError)


@dataclass(frozen=True, slots=True)
class Trial:
    """How one way to run a model did.

    Args:
        runtime: Library and precision.
        microbatch: Windows per call.
        seconds: Per window, the fastest call; None where it failed.
        agreement: Share of samples with the reference's class; None where it failed.
        problem: Why it failed; empty where it did not.
    """

    runtime: Runtime
    microbatch: int
    seconds: float | None
    agreement: float | None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `from_dict` turns them back."""
        return {**asdict(self), "runtime": list(self.runtime)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Trial:
        """Return the trial `to_dict` described.

        Raises:
            TypeError: The values are not those of a trial.
        """
        return cls(**{**values, "runtime": Runtime(*values["runtime"])})

    @classmethod
    def failed(cls, runtime: Runtime, microbatch: int, error: BaseException) -> Trial:
        """Return the trial of what does not run."""
        told = " ".join(str(error).split())[:200]
        return cls(runtime, microbatch, None, None, told or type(error).__name__)

    @property
    def accepted(self) -> bool:
        """Whether it agrees well enough to be taken unasked."""
        return self.agreement is not None and self.agreement >= AGREEMENT


def fastest_trial(trials: Sequence[Trial]) -> Trial:
    """Return the fastest that is accepted, else the first."""
    accepted = [trial for trial in trials if trial.accepted]
    return min(accepted, key=lambda trial: trial.seconds or 0.0, default=trials[0])


def class_maps(model: Model, windows: torch.Tensor, microbatch: int) -> torch.Tensor:
    """Return the best channel of every sample, (n, *window), for windows (n, c, *window)."""
    found = []
    with torch.inference_mode():
        for batch in _batches(windows, microbatch):
            raw = model(batch.to(model.device))
            found += [_classes(sample, model).cpu() for sample in raw]
    return torch.stack(found[: len(windows)])


def _classes(raw: torch.Tensor, model: Model) -> torch.Tensor:
    """Return the best channel of raw outputs (f * k, ...); NaN and infinity are no class: -1."""
    raw = raw.reshape(model.stacked, -1, *raw.shape[1:]).mean(0)
    scores = activate(raw, model.card.activation)
    halves = np.full(len(scores), 0.5, np.float32)
    best = (paint(scores, halves) if model.card.painted else decide(scores)).to(torch.int16)
    return best.masked_fill_(~torch.isfinite(raw).all(0), -1)


def try_runtime(
    runtime: Runtime,
    load: Callable[[], Model],
    windows: torch.Tensor,
    microbatches: Sequence[int],
    expected: torch.Tensor,
) -> list[Trial]:
    """Load a model in a runtime and try it out in every microbatch; what fails is out, no more."""
    try:
        model = load()
    except FAILURES as error:
        return [Trial.failed(runtime, count, error) for count in microbatches]
    return [try_out(model, windows, count, expected) for count in microbatches]


def try_out(model: Model, windows: torch.Tensor, microbatch: int, expected: torch.Tensor) -> Trial:
    """Run a model on windows (n, c, *window) and compare with the ``expected`` class maps."""
    try:
        found = class_maps(model, windows, microbatch)
        seconds = fastest_call(model, next(_batches(windows, microbatch)).to(model.device))
    except FAILURES as error:
        return Trial.failed(model.runtime, microbatch, error)
    same = float((found == expected).double().mean())
    return Trial(model.runtime, microbatch, seconds / microbatch, same)


def fastest_call(model: Model, batch: torch.Tensor) -> float:
    """Return the seconds of the fastest of a few calls; the first must have been made before."""
    times: list[float] = []
    with torch.inference_mode():
        while len(times) < _CALLS and sum(times) < _SECONDS:
            began = time.perf_counter()
            model(batch)
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            times.append(time.perf_counter() - began)
    return min(times)


def _batches(windows: torch.Tensor, microbatch: int) -> Iterator[torch.Tensor]:
    """Yield full microbatches; the last is filled up."""
    for batch in torch.split(windows, microbatch):
        missing = microbatch - len(batch)
        yield torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])])
