"""What a run made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import report
from ..budget import format_bytes
from ._report import Ran


@dataclass(frozen=True)
class Result:
    """What a run made.

    Args:
        outputs: Files written, the class map first; empty for an in-memory run.
        classes: Samples, share and area or volume per class.
        ran: Windows, times, memory, seam figure and lost tiles.
        warnings: What the user should know.
        array: The class map of an in-memory run, else None.
    """

    outputs: tuple[Path, ...]
    classes: tuple[report.ClassMeasure, ...]
    ran: Ran
    warnings: tuple[str, ...] = ()
    array: NDArray[Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the array."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "classes": [asdict(measure) for measure in self.classes],
            "ran": asdict(self.ran),
            "warnings": list(self.warnings),
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        lines = [f"warning: {text}" for text in self.warnings]
        width = max(len(c.name) for c in self.classes)
        lines += [
            f"  {c.name:{width}}  {c.share:7.2%}  {c.told_amount} {c.unit}"
            for c in self.classes
            if c.samples
        ]
        ran = self.ran
        lines.append(
            f"{ran.evaluated} windows evaluated, {ran.skipped} skipped, in {ran.seconds[0]:.1f} s; "
            f"peak memory {format_bytes(ran.peak_memory)}"
        )
        lines.append(f"runtime {ran.runtime}")
        if ran.changed is not None:
            lines.append(f"post-processing changed {ran.changed:,} samples")
        if ran.lost:
            lines.append(f"{len(ran.lost)} of {ran.tiles} tiles failed and are nodata")
        return "\n".join([*lines, *(f"wrote {path}" for path in self.outputs)])
