"""The engine: tiles of one plan, computed by a runner, kept in a work store, assembled once."""

from . import _machine as machine
from ._assemble import Assembled, assemble
from ._calibrate import Footprint, calibrate, call_seconds
from ._events import (
    Event,
    OnEvent,
    Postprocessing,
    Receipt,
    RunStopped,
    TileDone,
    TileKept,
    TileLost,
    TileStarted,
    WindowsDone,
)
from ._log import TileLog
from ._progress import Progress
from ._retry import patiently
from ._runner import Runner, SerialRunner, Task, Unit
from ._store import WorkStore, discard, finished, locked
from ._stored import Stored, stored
from ._sweep import Decision, ScoreCoding
from ._tally import Tally
from ._task import TileTask
from ._threads import ThreadRunner

__all__ = [
    "Assembled",
    "Decision",
    "Event",
    "Footprint",
    "OnEvent",
    "Postprocessing",
    "Progress",
    "Receipt",
    "RunStopped",
    "Runner",
    "ScoreCoding",
    "SerialRunner",
    "Stored",
    "Tally",
    "Task",
    "ThreadRunner",
    "TileDone",
    "TileKept",
    "TileLog",
    "TileLost",
    "TileStarted",
    "TileTask",
    "Unit",
    "WindowsDone",
    "WorkStore",
    "assemble",
    "calibrate",
    "call_seconds",
    "discard",
    "finished",
    "locked",
    "machine",
    "patiently",
    "stored",
]
