"""How a run is getting on, seen from another process through its work store."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ..engine import finished, stored
from ..errors import ConfigError
from ..io import Folder, open_folder
from ..tiling import TilePlan
from ._names import report_folder, work_folder

#: Seconds of silence after which a process counts as gone.
_SILENT = 60.0
#: What reading a file raises that is none of ours.
_NOT_OURS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
#: Processes that the summary names.
_SHOWN = 20


@dataclass(frozen=True)
class Worker:
    """A process that works, or worked, on a store.

    Args:
        worker: Host and process.
        role: What it does: all tiles, or a shard.
        state: ``at work``, ``ended``, ``stopped``, or ``silent``: not heard of for a minute.
        heard: Seconds since it was last heard of.
        tiles: Tiles it is to see done.
        done: Tiles it computed.
        running: Tiles it is computing.
        reasons: Tiles that failed and why, the first hundred.
        rate: Windows a second.
    """

    worker: str
    role: str
    state: str
    heard: float
    tiles: int
    done: int
    running: int
    reasons: dict[int, str]
    rate: float


@dataclass(frozen=True)
class Status:
    """How a run is getting on.

    Args:
        place: The work store, or the output where the run has ended.
        ended: Whether the output is there and no work is left.
        tiles: Tiles of the plan.
        done: Those that have a receipt.
        running: Those being computed.
        failed: Those that failed and have no receipt, with the reason.
        windows: Windows of the plan, and of it those of tiles that are done.
        rate: Windows a second, of all processes at work.
        left: Seconds that the rest takes at this rate, or None.
        workers: Who works on it, the last heard of first.
    """

    place: str
    ended: bool = False
    tiles: int = 0
    done: int = 0
    running: int = 0
    failed: dict[int, str] | None = None
    windows: tuple[int, int] = (0, 0)
    rate: float = 0.0
    left: float | None = None
    workers: tuple[Worker, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def summary(self) -> str:
        """Return a few lines for people."""
        if self.ended:
            return f"{self.place} is finished"
        failed = self.failed or {}
        left = "unknown" if self.left is None else f"{self.left:.0f} s"
        lines = [
            f"{self.place}",
            f"tiles    {self.done} done, {self.running} running, {len(failed)} failed, "
            f"of {self.tiles}",
            f"windows  {self.windows[1]} of {self.windows[0]}, {self.rate:.1f}/s, time left {left}",
        ]
        lines += [
            f"{w.worker}  {w.role}: {w.state}, {w.done} tiles computed, {w.running} running, "
            f"last heard of {w.heard:.0f} s ago"
            for w in self.workers[:_SHOWN]
        ]
        if len(self.workers) > _SHOWN:
            lines.append(f"and {len(self.workers) - _SHOWN} more processes, heard of before")
        return "\n".join([*lines, *(f"tile {n} failed: {why}" for n, why in failed.items())])


def status(where: str, work: str | None = None) -> Status:
    """Return how a run is getting on.

    Args:
        where: Its output, or its work store.
        work: The ``output.work`` of its settings, if any.

    Raises:
        ConfigError: There is neither.
        PlanChanged: The store cannot be understood.
    """
    named = "://" not in where and Path(where).name
    beside = work_folder(Path(where), work) if named else None
    for place in (where, beside):
        if place is None or ("://" not in str(place) and not Path(place).is_dir()):
            continue
        folder = open_folder(place)
        found = stored(folder)
        if found is not None:
            return _status(folder, found.plan)
    if beside is not None and Path(where).exists() and report_folder(Path(where)).is_dir():
        return Status(where, ended=True)
    raise ConfigError(
        f"there is no unfinished work at {where}: give the output of a run or its work store, and "
        "--work where the run had it"
    )


def _status(folder: Folder, plan: TilePlan) -> Status:
    numbers = [n for n in finished(folder) if n < len(plan)]
    done, workers = set(numbers), _workers(folder)
    at_work = [w for w in workers if w.state == "at work"]
    failed: dict[int, str] = {}
    for worker in workers:
        failed |= {n: why for n, why in worker.reasons.items() if n not in done}
    windows = (plan.planned, plan.planned_of(numbers))
    rate = sum(w.rate for w in at_work)
    return Status(
        place=folder.uri,
        tiles=len(plan),
        done=len(numbers),
        running=sum(w.running for w in at_work),
        failed=failed,
        windows=windows,
        rate=rate,
        left=(windows[0] - windows[1]) / rate if rate else None,
        workers=workers,
    )


def _workers(folder: Folder) -> tuple[Worker, ...]:
    found = []
    for name in folder.names("progress"):
        try:
            values = json.loads(folder.read(name))
            found.append(_worker(values))
        except (FileNotFoundError, *_NOT_OURS):
            continue  # it is for people to look at: what cannot be read is left out
    return tuple(sorted(found, key=lambda worker: worker.heard))


def _plain(value: Any) -> str:
    """Return a text of another process as one line that does nothing to a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(value))[:500]


def _worker(values: dict[str, Any]) -> Worker:
    if not all(isfinite(float(values[name])) for name in ("time", "rate")):
        raise ValueError("no such time or rate")
    heard = max(0.0, time.time() - float(values["time"]))
    silent = values["state"] == "at work" and heard > _SILENT
    return Worker(
        worker=_plain(values["worker"]),
        role=_plain(values["role"]),
        state="silent" if silent else _plain(values["state"]),
        heard=heard,
        tiles=int(values["tiles"]),
        done=int(values["done"]),
        running=int(values["running"]),
        reasons={int(n): _plain(why) for n, why in values["reasons"].items()},
        rate=float(values["rate"]),
    )
