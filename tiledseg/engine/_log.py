"""The log of a run: a line of JSON for every tile that ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from ..io import writing
from ._events import Event, TileDone, TileKept, TileLost


class TileLog:
    """Appends lines to a file, each whole and at once, so that several processes may share it.

    Args:
        path: The file; made where it is not there.
        image: What is segmented: runs may share a file.

    Raises:
        OutputFailed: It cannot be written.
    """

    def __init__(self, path: Path, image: str) -> None:
        self._path, self._image = path, image
        with writing(path):
            self._file = path.open("ab", buffering=0)

    def __call__(self, event: Event) -> None:
        """Record the end of a tile."""
        if isinstance(event, TileDone | TileKept):
            receipt = event.receipt
            self._write(
                {
                    "tile": receipt.tile,
                    "state": "done" if isinstance(event, TileDone) else "kept",
                    "evaluated": receipt.evaluated,
                    "skipped": receipt.skipped,
                    "seconds": round(receipt.seconds, 3),
                    "waited": {key: round(s, 3) for key, s in receipt.waited.items()},
                    "samples": receipt.samples,
                    "worker": receipt.worker,
                }
            )
        elif isinstance(event, TileLost):
            self._write({"tile": event.tile, "state": "lost", "reason": event.reason})

    def _write(self, values: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with writing(self._path):
            self._file.write(
                json.dumps({"time": now, "image": self._image, **values}).encode() + b"\n"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
