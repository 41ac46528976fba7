"""TensorBoard: the only door to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import MissingBackend


class Board:
    """Writes the figures of a training for TensorBoard.

    Args:
        folder: Where.
        step: Of the training so far; what an earlier run wrote for later ones is dropped.

    Raises:
        MissingBackend: It is not installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingBackend("tensorboard", "train", "run.tensorboard") from None
        self._writer: Any = SummaryWriter(str(folder), purge_step=step or None)

    def add(self, step: int, **values: float) -> None:
        """Add figures by name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
