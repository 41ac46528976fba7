"""Who executes tiles: the contract, and the runner that defines "correct"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from ..errors import TiledsegError
from ..tiling import Tile
from ._events import Event, OnEvent, Receipt, TileDone, TileLost, WindowsDone

Task = Callable[[Tile, Callable[[int], None]], Receipt]


class Runner(ABC):
    """Executes every tile once, in any order.

    A tile that fails with an error of its own (the model, an arithmetic fault) loses only itself:
    it is reported as `TileLost` and the others go on. A `TiledsegError` concerns the whole run
    (damaged input, a full disk) and ends it; finished tiles keep their receipts.
    ``on_event`` is called from one thread at a time.
    """

    @abstractmethod
    def run(self, task: Task, tiles: Iterable[Tile], on_event: OnEvent) -> None:
        """Compute ``tiles``."""


class SerialRunner(Runner):
    """One tile after the other in the calling thread."""

    def run(self, task: Task, tiles: Iterable[Tile], on_event: OnEvent) -> None:
        """Compute ``tiles``."""
        for tile in tiles:
            on_event(compute(task, tile, on_event))


class _ListenerFailed(Exception):
    """Carries an error of the listener past the tile's own."""


def compute(task: Task, tile: Tile, on_event: OnEvent) -> Event:
    """Compute one tile and return how it ended."""

    def on_windows(count: int) -> None:
        try:
            on_event(WindowsDone(tile.index, count))
        except Exception as error:
            raise _ListenerFailed from error

    try:
        return TileDone(task(tile, on_windows))
    except TiledsegError:
        raise
    except _ListenerFailed as failed:
        raise failed.__cause__ or failed from None
    except Exception as error:  # a tile's own fault must not take the others with it
        return TileLost(tile.index, f"{type(error).__name__}: {error}")
