"""Who is told how a training is getting on: its log, TensorBoard, the caller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._board import Board
from ._log import Log
from ._loop import Event, StepsDone, Validated

LOG, BOARD = "train.log.jsonl", "tensorboard"


class Listeners:
    """Tells log, TensorBoard and caller what happens; entered, it gives what to tell.

    Args:
        out: Folder of the model.
        board: Whether TensorBoard's files are written.
        on_event: The caller's, or None.
        step: Steps done so far.
    """

    def __init__(
        self, out: Path, board: bool, on_event: Callable[[Event], None] | None, step: int
    ) -> None:
        self._on_event = on_event
        self._log = Log(out / LOG, step)
        self._board = Board(out / BOARD, step) if board else None

    def __enter__(self) -> Callable[[Event], None]:
        return self._tell

    def __exit__(self, *exc: object) -> None:
        if self._board is not None:
            self._board.close()

    def _tell(self, event: Event) -> None:
        if isinstance(event, StepsDone | Validated):
            self._log.add(**_line(event))
        if self._board is not None:
            self._board.add(event.step, **_scalars(event))
        if self._on_event is not None:
            self._on_event(event)


def _line(event: StepsDone | Validated) -> dict[str, Any]:
    if isinstance(event, Validated):
        return {"step": event.step, "score": event.score, "figures": event.figures}
    return {
        "step": event.step,
        "loss": event.loss,
        "rate": event.rate,
        "seconds": round(event.seconds, 3),
        "patches_per_second": round(event.speed, 3),
    }


def _scalars(event: Event) -> dict[str, float]:
    if isinstance(event, StepsDone):
        return {"loss": event.loss, "rate": event.rate}
    return {"score": event.score} if isinstance(event, Validated) else {}
