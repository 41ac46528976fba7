"""Tasks for workers in other processes: they must be importable there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import pytest

from tiledseg.box import Box
from tiledseg.engine import OnEvent, Receipt, Task, TileTask, Unit
from tiledseg.errors import DamagedInput
from tiledseg.tiling import Tile


@dataclass(frozen=True)
class Trivial:
    """Counts two windows and does nothing else; ``folder`` keeps a mark per computed tile."""

    folder: str | None = None

    def __call__(self, tile: Tile, on_windows: Callable[[int], None]) -> Receipt:
        attempt = self._mark(tile.index)
        on_windows(1)
        self.act(tile.index, attempt)
        on_windows(1)
        who = f"{os.uname().nodename}:{os.getpid()}"
        return Receipt(tile.index, 2, 0, 0, 0.01, {}, (1,), (1.0,), who)

    def act(self, tile: int, attempt: int) -> None:
        """What a tile does besides."""

    def _mark(self, tile: int) -> int:
        """Return the number of this attempt."""
        if self.folder is None:
            return 0
        attempt = 0
        while True:
            try:
                os.close(os.open(f"{self.folder}/{tile}-{attempt}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                attempt += 1
            else:
                return attempt


@dataclass(frozen=True)
class Poisoned(Trivial):
    """Kills its worker's process at some tiles, at the first ``times`` attempts."""

    tiles: tuple[int, ...] = ()
    times: int = 1000

    def act(self, tile: int, attempt: int) -> None:
        if tile in self.tiles and attempt < self.times:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Preempted(Trivial):
    """Its worker is told to go in the middle of a tile, at the first ``times`` attempts."""

    tile: int = 0
    times: int = 0
    seconds: float = 0.0

    def act(self, tile: int, attempt: int) -> None:
        if tile == self.tile and attempt < self.times:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        time.sleep(self.seconds)


@dataclass(frozen=True)
class Slow(Trivial):
    """Takes a quarter of a minute at the first attempt at one tile."""

    tile: int = 0

    def act(self, tile: int, attempt: int) -> None:
        time.sleep(15 if tile == self.tile and attempt == 0 else 0.01)


@dataclass(frozen=True)
class Faulty(Trivial):
    """Raises an error of the tile's own, or one that concerns the whole run."""

    tile: int = 0
    run: bool = False

    def act(self, tile: int, attempt: int) -> None:
        if tile == self.tile:
            raise DamagedInput("the scene is cut short") if self.run else ValueError("cosmic ray")


@dataclass(frozen=True)
class Dying:
    """Another task, whose worker's process dies in the middle of some tiles.

    Args:
        task: What computes.
        folder: Keeps a mark per death, and lets a tile kill once only; None: every time.
        tiles: Those that kill.
    """

    task: Task
    folder: str | None
    tiles: tuple[int, ...]

    def __call__(self, tile: Tile, on_windows: Callable[[int], None]) -> Receipt:
        def dying(windows: int) -> None:
            on_windows(windows)
            if tile.index in self.tiles and self._first(tile.index):
                os._exit(1)

        return self.task(tile, dying)

    def _first(self, tile: int) -> bool:
        if self.folder is None:
            return True
        try:
            os.close(os.open(f"{self.folder}/{tile}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class Heavy:
    """A real task whose worker's process is killed where it holds more than so many samples."""

    task: Task
    samples: int

    def __call__(self, tile: Tile, on_windows: Callable[[int], None]) -> Receipt:
        real = TileTask._sweep

        def sweep(task: TileTask, part: Tile, told: Any) -> Receipt:
            if prod(part.core.shape) > self.samples:
                os.kill(os.getpid(), signal.SIGKILL)  # as the system does it
            return real(task, part, told)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TileTask, "_sweep", sweep)
            return self.task(tile, on_windows)


def units(
    task: Trivial, count: int, on_event: OnEvent, smaller: Trivial | None = None
) -> Iterator[Unit]:
    """Yield so many units of a task."""
    for i in range(count):
        box = Box((i,), (i + 1,))
        yield Unit(task, Tile(i, box, box), on_event, smaller)
