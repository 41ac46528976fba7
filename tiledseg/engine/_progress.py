"""How a process is getting on with a work store, told to other processes through it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from typing import Any, Self

from ..errors import TiledsegError
from ..io import Folder
from . import _machine as machine
from ._events import Event, TileDone, TileKept, TileLost, TileStarted, WindowsDone

#: Seconds between two writes.
_EVERY = 2.0
#: Numbers of running tiles, and reasons of failed ones, that are written out.
_NAMED = 100


class Progress:
    """Keeps ``progress/<host>-<process>.json`` of a store up to date, in a thread of its own.

    It is for people to look at: what cannot be written is left out.

    Args:
        folder: The store.
        role: What this process does.
        tiles: How many tiles it is to see done.
    """

    def __init__(self, folder: Folder, role: str, tiles: int) -> None:
        self._folder, self._role, self._tiles = folder, role, tiles
        self._worker = machine.worker()
        self._name = f"progress/{self._worker.replace(':', '-')}.json"
        self._began = time.time()
        self._done = self._kept = self._windows = 0
        self._running: set[int] = set()
        self._lost: dict[int, str] = {}
        self._guard, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="progress", daemon=True)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        with self._guard:
            if isinstance(event, WindowsDone):
                self._windows += event.windows
            elif isinstance(event, TileStarted):
                self._running.add(event.tile)
            elif isinstance(event, TileDone):
                self._done += 1
                self._running.discard(event.receipt.tile)
                self._lost.pop(event.receipt.tile, None)
            elif isinstance(event, TileKept):
                self._kept += 1
            elif isinstance(event, TileLost):
                self._running.discard(event.tile)
                self._lost[event.tile] = event.reason

    def values(self, state: str) -> dict[str, Any]:
        """Return what is written."""
        with self._guard:
            now = time.time()
            return {
                "worker": self._worker,
                "role": self._role,
                "state": state,
                "began": self._began,
                "time": now,
                "tiles": self._tiles,
                "done": self._done,
                "kept": self._kept,
                "running": len(self._running),
                "running_tiles": sorted(self._running)[:_NAMED],
                "failed": len(self._lost),
                "reasons": dict(list(self._lost.items())[:_NAMED]),
                "windows": self._windows,
                "rate": self._windows / max(now - self._began, 1e-3),
            }

    def __enter__(self) -> Self:
        self._write("at work")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if not self._stop.is_set():
            self.stop()
            self._write("ended" if kind is None else "stopped")

    def stop(self) -> None:
        """Write no more: the store is about to be removed."""
        self._stop.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._stop.wait(_EVERY):
            self._write("at work")

    def _write(self, state: str) -> None:
        with suppress(TiledsegError, OSError):
            self._folder.write(self._name, json.dumps(self.values(state)).encode())
