"""What a batch tells while it works, and what it made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..budget import format_bytes
from ..engine import Event
from ..report import InputRow, State
from ._inputs import Input
from ._result import Result


@dataclass(frozen=True, slots=True)
class InputPlanned:
    """An input of a batch begins, with so many windows."""

    windows: int


@dataclass(frozen=True, slots=True)
class InputEnded:
    """An input of a batch is done, kept from an earlier run, or failed."""

    row: InputRow


#: Told the name of an input, and what happened to it.
OnBatchEvent = Callable[[str, Event | InputPlanned | InputEnded], None]


@dataclass(frozen=True)
class BatchResult:
    """What a batch made.

    Args:
        rows: How every input ended, in the order they were given.
        report: Files of the batch's own report.
        seconds: Wall time.
        peak_memory: Most bytes the process held.
        refused: Whether all that failed did so for want of memory.
    """

    rows: tuple[InputRow, ...]
    report: tuple[Path, ...]
    seconds: float
    peak_memory: int
    refused: bool = False

    def count(self, state: State) -> int:
        """Return how many inputs ended so."""
        return sum(row.state == state for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "inputs": [{**asdict(row), "out": str(row.out)} for row in self.rows],
            "report": [str(path) for path in self.report],
            "seconds": self.seconds,
            "peak_memory": self.peak_memory,
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        states: tuple[State, ...] = ("done", "kept", "partly", "failed")
        told = ", ".join(f"{self.count(s)} {s}" for s in states if self.count(s))
        windows = sum(row.windows for row in self.rows)
        line = (
            f"{len(self.rows)} inputs: {told}; {windows} windows, {self.seconds:.1f} s; "
            f"peak memory {format_bytes(self.peak_memory)}"
        )
        return "\n".join([line, *(f"wrote {path}" for path in self.report)])


def ended_row(one: Input, result: Result) -> InputRow:
    """Return how an input ended that was run to its end."""
    ran, problem = result.ran, ""
    if ran.lost:
        tile, reason = next(iter(ran.lost.items()))
        problem = (
            f"{len(ran.lost)} of {ran.tiles} tiles failed and are nodata; tile {tile}: {reason}"
        )
    return InputRow(
        name=one.name,
        image=one.image,
        out=one.out,
        state="partly" if ran.lost else "done",
        seconds=ran.seconds[0],
        windows=ran.evaluated + ran.skipped,
        classes=result.classes,
        problem=problem,
    )
