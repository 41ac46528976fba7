"""Progress of a run: a bar with rate and estimate on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..engine import Event, Postprocessing, TileKept, TileLost, WindowsDone
from ._tell import plain

#: Seconds between plain lines.
_LINE_EVERY = 10.0


class _Shown:
    """A bar of rich on a terminal; elsewhere ``_plain`` asks for lines.

    Args:
        quiet: Show nothing.
        columns: What stands before the times.
    """

    def __init__(self, quiet: bool, *columns: ProgressColumn) -> None:
        terminal = sys.stderr.isatty() and not quiet
        self._plain = not terminal and not quiet
        self._began = self._said = time.monotonic()
        self._progress = Progress(
            *columns,
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()


class Bar(_Shown):
    """Windows done of windows planned, on stderr.

    Args:
        total: Windows planned.
        quiet: Show nothing.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        super().__init__(
            quiet,
            TextColumn("segmenting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("windows  {task.fields[rate]}"),
        )
        self._total, self._quiet = total, quiet
        self._done = self._kept = 0
        self._cleaned, self._cleaning = 1.0, 0.0  # share of post-processing, and when it began
        self._task = self._progress.add_task("windows", total=total, rate="")

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, WindowsDone):
            self._advance(event.windows)
        elif isinstance(event, TileKept):
            self._kept += event.receipt.evaluated + event.receipt.skipped
            self._progress.update(
                self._task, advance=event.receipt.evaluated + event.receipt.skipped
            )
        elif isinstance(event, Postprocessing):
            self._clean(event.share)
        elif isinstance(event, TileLost) and not self._quiet:
            self.say(f"tile {event.tile} failed: {event.reason}")

    def _clean(self, share: float) -> None:
        """Show how the post-processing is getting on, once it takes a while."""
        now = time.monotonic()
        if share < self._cleaned:  # the first, or another input's
            self._cleaning = now
        self._cleaned = share
        if not self._quiet and share > 0 and now - self._said >= _LINE_EVERY:
            self._said = now
            left = (now - self._cleaning) * (1 - share) / share
            self.say(f"post-processing: {share:.0%} done, about {left:.0f} s left")

    def expect(self, windows: int) -> None:
        """Take note that there are more windows than was known."""
        self._total += windows
        self._progress.update(self._task, total=self._total)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(plain(line), markup=False, highlight=False, soft_wrap=True)

    def _advance(self, windows: int) -> None:
        self._done += windows
        now = time.monotonic()
        rate = self._done / max(now - self._began, 1e-3)
        self._progress.update(self._task, advance=windows, rate=f"{rate:.1f}/s")
        done = self._done + self._kept
        if self._plain and (now - self._said >= _LINE_EVERY or done == self._total):
            self._said = now
            left = (self._total - done) / rate
            print(
                f"{done}/{self._total} windows, {rate:.1f}/s, about {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


class Share(_Shown):
    """The share of a piece of work that is done, on stderr.

    Args:
        verb: What is being done.
        quiet: Show nothing.
    """

    def __init__(self, verb: str, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn())
        super().__init__(quiet, *columns, TextColumn("{task.percentage:.0f} %"))
        self._verb = verb
        self._task = self._progress.add_task(verb, total=1.0)

    def __call__(self, share: float, name: str = "") -> None:
        """Take note of the share done, 0 to 1, and of what is being worked on."""
        text = f"{self._verb} {plain(name)}".strip().replace("[", r"\[")
        self._progress.update(self._task, completed=share, description=text)
        now = time.monotonic()
        if self._plain and now - self._said >= _LINE_EVERY and share > 0:
            self._said = now
            left = (now - self._began) * (1 - share) / share
            print(f"{share:.0%} done, about {left:.0f} s left", file=sys.stderr, flush=True)
