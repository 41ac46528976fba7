"""Training on the terminal: progress with rate and estimate, and what came out."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Self

from ..training import Event, Kept, Recipe, RunSpec, StepsDone, Trained, Validated, Validating
from ._tell import tell

#: Seconds between lines.
_LINE_EVERY = 10.0
#: Reports of steps after which the speed may be known, and how much faster than at the report
#: before it is then at most: files are opened, and images decoded, at the first steps.
_SPEED_KNOWN, _SETTLED = 3, 1.1
#: Times the planned minutes beyond which a training is late.
_LATE = 1.1


class Steps:
    """Tells how a training is getting on, on stderr.

    Args:
        run: How long the recipe wants it to be.
        quiet: Tell nothing.
    """

    def __init__(self, run: RunSpec, quiet: bool) -> None:
        self._total, self._minutes, self._quiet = run.steps, run.minutes, quiet
        self._said, self._stepped = time.monotonic(), False
        self._kept: Kept | None = None
        self._validated: Validated | None = None
        self._reports, self._speed, self._warned = 0, 0.0, False

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Kept):
            self._kept = event
        elif isinstance(event, Validating):
            case = f"case {event.case} of {event.cases}"
            self._say_now_and_then(f"step {event.step}: validating {case} ...")
        elif isinstance(event, Validated):
            self._validated = event
            best = ", the best so far" if event.best else ""
            self._say(f"step {event.step}: held-out cases: {_scores(event)}{best}")
        else:
            self._warn(event)
            if self._is_time() or not self._stepped or event.step == self._total:
                self._said, self._stepped = time.monotonic(), True
                self._say(_progress(event, self._total, self._validated))

    def _warn(self, event: StepsDone) -> None:
        """Say once, as soon as the speed is known, if it will take longer than was planned."""
        settled = event.speed <= _SETTLED * self._speed
        self._reports, self._speed = self._reports + 1, event.speed
        if self._warned or self._minutes is None:
            return
        if settled and self._reports >= _SPEED_KNOWN:
            self._warned = True
            late = _late(event, self._total, self._minutes)
            if late is not None:
                self._say(f"warning: {late}")

    def counted(self, case: str) -> None:
        """Take note that the labels of a case were counted."""
        self._say_now_and_then(f"counted the labels of {case} ...")

    def _say_now_and_then(self, line: str) -> None:
        if self._is_time():
            self._said = time.monotonic()
            self._say(line)

    def _is_time(self) -> bool:
        return time.monotonic() - self._said >= _LINE_EVERY

    def _say(self, line: str) -> None:
        if not self._quiet:
            tell(line, err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, KeyboardInterrupt | SystemExit) and self._kept is not None:
            kept = f"step {self._kept.step} of {self._total} is kept in {self._kept.path}"
            print(f"tiledseg: {kept}", file=sys.stderr)


def execute(
    recipe: Recipe, out: Path, options: tuple[bool, str, int | None], quiet: bool, as_json: bool
) -> None:
    """Train, and print what came out.

    Args:
        recipe: The settings.
        out: Folder of the model.
        options: Whether to start afresh, the device, the threads.
        quiet: Print nothing.
        as_json: Print JSON.
    """
    from .. import pipeline

    fresh, device, threads = options
    with Steps(recipe.run, quiet) as steps:
        made = pipeline.train(
            recipe,
            out,
            fresh=fresh,
            device=device,
            threads=threads,
            command=" ".join(["tiledseg", *sys.argv[1:]]),
            on_event=steps,
            on_case=steps.counted,
        )
    if not made.first:
        return
    if as_json:
        tell(json.dumps({"folder": str(made.folder), **vars(made.numbers)}))
    elif not quiet:
        _summary(made)


def _summary(made: Trained) -> None:
    numbers = made.numbers
    for name, value in numbers.figures.items():
        shown = value.items() if isinstance(value, dict) else [("", value)]
        tell(f"  {name:20}" + "".join(f"  {key} {number:.4f}" for key, number in shown))
    ended = " (ended early)" if numbers.ended else ""
    before = f", {made.resumed} of them in earlier runs" if made.resumed else ""
    tell(f"{numbers.step} steps{ended} in {numbers.seconds:.0f} s{before}")
    tell(f"wrote {made.folder}")


def _progress(event: StepsDone, total: int, last: Validated | None) -> str:
    held = "" if last is None else f", held-out {_scores(last)} at step {last.step}"
    return (
        f"step {event.step}/{total}: loss {event.loss:.4f}{held}, {event.speed:.1f} patches/s, "
        f"about {_time(event.left)} left"
    )


def _scores(event: Validated) -> str:
    """Return the figures of all classes together by name, or the score where there are none."""
    found = {k: v for k, v in event.figures.items() if isinstance(v, float)}
    return ", ".join(f"{k} {v:.4f}" for k, v in found.items()) or f"score {event.score:.4f}"


def _late(event: StepsDone, total: int, minutes: float) -> str | None:
    """Return what to say of a training that will take longer than it was planned for.

    >>> print(_late(StepsDone(20, 1.0, 0.1, 40.0, 4.0, 1960.0), 1000, 20.0))
    it will take about 33 min, planned: 20 min (run.minutes); for less set run.steps=600, --fresh
    >>> _late(StepsDone(20, 1.0, 0.1, 40.0, 4.0, 1960.0), 1000, 40.0)
    """
    needed, planned = event.seconds + event.left, 60 * minutes
    if needed <= _LATE * planned:
        return None
    steps = max(1, int(total * planned / needed))
    return (
        f"it will take about {_time(needed)}, planned: {_time(planned)} (run.minutes); for less "
        f"set run.steps={steps}, --fresh"
    )


def _time(seconds: float) -> str:
    """Return a duration as people say it.

    >>> _time(45), _time(600), _time(9000)
    ('45 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
