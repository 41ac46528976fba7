"""The engine: tiles of one plan, computed by a runner, kept in a work store, assembled once."""

from . import _machine as machine
from ._assemble import Assembled, assemble
from ._events import Event, OnEvent, Receipt, TileDone, TileLost, WindowsDone
from ._runner import Runner, SerialRunner
from ._store import WorkStore
from ._sweep import ScoreCoding, warm_up
from ._task import TileTask
from ._threads import ThreadRunner

__all__ = [
    "Assembled",
    "Event",
    "OnEvent",
    "Receipt",
    "Runner",
    "ScoreCoding",
    "SerialRunner",
    "ThreadRunner",
    "TileDone",
    "TileLost",
    "TileTask",
    "WindowsDone",
    "WorkStore",
    "assemble",
    "machine",
    "warm_up",
]
