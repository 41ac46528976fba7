"""What a run tells while it works; the shell draws progress from it, the log records it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a tile is done, kept in the work store.

    Args:
        tile: Number of the tile.
        evaluated: Windows the model saw.
        skipped: Windows without a sample that is valid, wanted and not air.
        checksum: CRC-32 of the tile's class map, row-major.
        seconds: Wall time of the tile.
        waited: Seconds of it that went by waiting for reading, and for writing.
    """

    tile: int
    evaluated: int
    skipped: int
    checksum: int
    seconds: float
    waited: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WindowsDone:
    """Some windows of a tile are finished, evaluated or skipped."""

    tile: int
    windows: int


@dataclass(frozen=True, slots=True)
class TileDone:
    """A tile is written and has its receipt."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class TileKept:
    """A tile was finished by an earlier run and is not computed again."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class TileLost:
    """A tile could not be computed; its core stays nodata."""

    tile: int
    reason: str


Event = WindowsDone | TileDone | TileKept | TileLost
OnEvent = Callable[[Event], None]
