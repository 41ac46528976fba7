"""What a run tells while it works; the shell draws progress from it, the log records it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import TiledsegError


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
        samples: Samples of every class, by ascending label.
        amounts: Their area or volume, in the unit of `tiledseg.vector.row_measures`.
        worker: Host and process that computed it.
        score_checksum: CRC-32 of the tile's stored scores, see `Checksum`; None: it has none.
    """

    tile: int
    evaluated: int
    skipped: int
    checksum: int
    seconds: float
    waited: dict[str, float]
    samples: tuple[int, ...]
    amounts: tuple[float, ...]
    worker: str
    score_checksum: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Receipt:
        """Return the receipt `to_dict` described.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: The values are not a receipt.
        """
        lists = {key: tuple(values[key]) for key in ("samples", "amounts")}
        receipt = cls(**{**values, **lists})
        counts = (receipt.tile, receipt.evaluated, receipt.skipped, *receipt.samples)
        figures = (receipt.seconds, *receipt.amounts, *receipt.waited.values())
        if not (
            all(isinstance(n, int) and n >= 0 for n in counts)
            and all(isinstance(x, int | float) for x in figures)
            and len(receipt.samples) == len(receipt.amounts)
            and isinstance(receipt.worker, str)
        ):
            raise ValueError("these are not the values of a receipt")
        return receipt


@dataclass(frozen=True, slots=True)
class TileStarted:
    """A worker begins a tile, for the first time or once more."""

    tile: int
    worker: str


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


@dataclass(frozen=True, slots=True)
class RunStopped:
    """An error that concerns every tile: damaged input, a full disk."""

    error: TiledsegError


@dataclass(frozen=True, slots=True)
class Postprocessing:
    """The share of the post-processing of the class map that is done, 0 to 1."""

    share: float


Event = TileStarted | WindowsDone | TileDone | TileKept | TileLost | RunStopped | Postprocessing
OnEvent = Callable[[Event], None]
