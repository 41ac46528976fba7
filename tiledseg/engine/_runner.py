"""Who executes tiles: the contract, and the runner that defines "correct"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..errors import TiledsegError
from ..tiling import Tile
from . import _machine as machine
from ._events import (
    Event,
    OnEvent,
    Receipt,
    RunStopped,
    TileDone,
    TileLost,
    TileStarted,
    WindowsDone,
)

Task = Callable[[Tile, Callable[[int], None]], Receipt]


class Unit(NamedTuple):
    """A tile to compute.

    Args:
        task: What computes it.
        tile: The tile.
        on_event: Told how it goes; of all units together, by one thread at a time.
        smaller: What computes it where workers died of it: the same result with less memory; None:
            the task itself.
    """

    task: Task
    tile: Tile
    on_event: OnEvent
    smaller: Task | None = None


class Runner(ABC):
    """Executes every unit once, in any order.

    A tile that fails with an error of its own (the model, an arithmetic fault) loses only itself:
    it is reported as `TileLost` and the others go on. A `TiledsegError` concerns every tile of its
    run (damaged input, a full disk) and is reported as `RunStopped`; finished tiles keep their
    receipts. An error that ``on_event`` raises ends the runner.
    """

    @abstractmethod
    def run(self, units: Iterable[Unit]) -> None:
        """Compute ``units``, which are taken one by one as there is room for them."""


class SerialRunner(Runner):
    """One tile after the other in the calling thread."""

    def run(self, units: Iterable[Unit]) -> None:
        """Compute ``units``."""
        for unit in units:
            unit.on_event(compute(unit.task, unit.tile, unit.on_event))


class _ListenerFailed(Exception):
    """Carries an error of the listener past the tile's own."""


def compute(task: Task, tile: Tile, on_event: OnEvent) -> Event:
    """Compute one tile and return how it ended."""

    def tell(event: Event) -> None:
        try:
            on_event(event)
        except Exception as error:
            raise _ListenerFailed from error

    try:
        tell(TileStarted(tile.index, machine.worker()))
        return TileDone(task(tile, lambda count: tell(WindowsDone(tile.index, count))))
    except TiledsegError as error:
        return RunStopped(error)
    except _ListenerFailed as failed:
        raise failed.__cause__ or failed from None
    except Exception as error:  # a tile's own fault must not take the others with it
        return TileLost(tile.index, f"{type(error).__name__}: {error}")
