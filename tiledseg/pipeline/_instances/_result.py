"""What instances gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Instances:
    """An id map that was written.

    Args:
        outputs: The files made, the id map first.
        objects: Name of every class of things -> objects.
        stuff: Names of the classes of stuff that have an id.
        left: Objects that had no room in memory to be split.
    """

    outputs: list[Path]
    objects: dict[str, int]
    stuff: tuple[str, ...]
    left: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "objects": self.objects,
            "stuff": list(self.stuff),
            "left": self.left,
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        width = max(map(len, self.objects), default=0)
        lines = [f"  {name:{width}}  {count:,} objects" for name, count in self.objects.items()]
        if self.stuff:
            lines.append(f"stuff: {', '.join(self.stuff)}")
        if self.left:
            lines.append(
                f"warning: {self.left:,} objects had no room in memory to be split and are whole; "
                "raise the memory"
            )
        return "\n".join([*lines, *(f"wrote {path}" for path in self.outputs)])
