"""Training on the terminal: progress with rate and estimate, and what came out."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Self

from ..training import Event, Kept, Recipe, StepsDone, Trained, Validated
from ._tell import tell

#: Seconds between lines.
_LINE_EVERY = 10.0


class Steps:
    """Tells how a training is getting on, on stderr.

    Args:
        total: Steps of the recipe.
        quiet: Tell nothing.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        self._total, self._quiet = total, quiet
        self._said, self._stepped = time.monotonic(), False
        self._kept: Kept | None = None

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Kept):
            self._kept = event
        elif isinstance(event, Validated):
            best = ", the best so far" if event.best else ""
            self._say(f"step {event.step}: held-out cases {event.score:.4f}{best}")
        elif self._is_time() or not self._stepped or event.step == self._total:
            self._said, self._stepped = time.monotonic(), True
            self._say(_progress(event, self._total))

    def counted(self, case: str) -> None:
        """Take note that the labels of a case were counted."""
        if self._is_time():
            self._said = time.monotonic()
            self._say(f"counted the labels of {case} ...")

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
    with Steps(recipe.run.steps, quiet) as steps:
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


def _progress(event: StepsDone, total: int) -> str:
    return (
        f"step {event.step}/{total}: loss {event.loss:.4f}, {event.speed:.1f} patches/s, "
        f"about {_time(event.left)} left"
    )


def _time(seconds: float) -> str:
    """Return a duration as people say it.

    >>> _time(45), _time(600), _time(9000)
    ('45 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
