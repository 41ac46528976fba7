"""The driver of many workers: what is given out when, and what happens when workers die.

It knows nothing of Dask: a `Pool` takes copies of units and sends messages home.

    units -> at most two copies a worker in flight -> Ended -> the unit's listener
                  |                       |
                  a worker died           three times the median, nothing left to give out
                  |                       |
                  isolation: last, alone  a second copy elsewhere; the first to end counts
    on a worker, in halves
                  |
                  died again: quarantine (`TileLost`)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, Protocol

from ._events import Event, TileDone, TileLost, TileStarted, WindowsDone
from ._runner import Unit

#: Copies in flight per worker: one is computed, one waits. With more, a worker that dies takes
#: units with it that it had not begun (112 of 300 lost with all in flight, none with two).
PER_WORKER = 2
#: Copies of a unit that die before it is isolated, whatever else of it is in flight.
_DEATHS = 2
#: Seconds between two looks at the clock.
_TICK = 1.0
#: A unit that takes so many times the median gets a second copy; never before so many seconds.
_SLOW, _SLOW_SECONDS = 3.0, 5.0
#: Latest durations that the median is taken of.
_REMEMBERED = 501


class Copy(NamedTuple):
    """One attempt at a unit: the unit's number, and the how many-th attempt it is."""

    unit: int
    attempt: int


class Told(NamedTuple):
    """A worker tells how a copy goes."""

    copy: Copy
    event: Event


class Ended(NamedTuple):
    """A copy ended, well or not."""

    copy: Copy
    event: Event


class Died(NamedTuple):
    """The workers that were given a copy died."""

    copy: Copy
    reason: str


Message = Told | Ended | Died


class Pool(Protocol):
    """Workers, as the driver sees them."""

    def size(self) -> int:
        """Return how many workers there are now."""

    def now(self) -> float:
        """Return the seconds of a clock that never goes back."""

    def submit(self, copy: Copy, unit: Unit, avoid: str | None) -> None:
        """Give a copy to a worker, if possible another than ``avoid``."""

    def take(self, seconds: float) -> Message | None:
        """Return the next message, or None if none comes in so many seconds."""

    def forget(self, copies: Iterable[Copy]) -> None:
        """Take no more interest in copies; stop them where that is easy."""


@dataclass
class _Open:
    """A unit that has not ended.

    Args:
        unit: The unit.
        since: When it was last given out, or begun.
        alone: Whether it is in isolation.
        begun: Whether a worker has said that it began.
        worker: The worker that said so.
        windows: Windows told of per attempt.
        told: Windows passed on.
        alive: Copies in flight.
        died: Copies that died.
    """

    unit: Unit
    since: float
    alone: bool = False
    begun: bool = False
    worker: str | None = None
    windows: dict[int, int] = field(default_factory=dict)
    told: int = 0
    alive: set[Copy] = field(default_factory=set)
    died: int = 0


class Driver:
    """Computes units with a pool of workers; `run` returns when every unit has ended.

    Args:
        pool: The workers.
        units: Taken one by one as there is room for them.
    """

    def __init__(self, pool: Pool, units: Iterable[Unit]) -> None:
        self._pool, self._units = pool, iter(units)
        self._exhausted = False
        self._open: dict[int, _Open] = {}
        self._isolated: deque[_Open] = deque()
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._number = self._ended = self._flying = 0
        self._looked = pool.now()

    def run(self) -> None:
        """Compute all units."""
        try:
            while self._fill():
                message = self._pool.take(_TICK)
                if message is not None:
                    self._handle(message)
                self._look_after_slow_ones()
        finally:
            self._pool.forget(copy for one in self._open.values() for copy in one.alive)

    def _fill(self) -> bool:
        """Give out units as far as there is room; return whether anything is left to wait for."""
        room = PER_WORKER * self._pool.size()
        while not self._exhausted and self._flying < room:
            unit = next(self._units, None)
            if unit is None:
                self._exhausted = True
            else:
                self._give(_Open(unit, self._pool.now()))
        # Isolation: on half of the workers, so that a copy whose worker died finds an idle one.
        if self._exhausted and self._isolated and all(one.alone for one in self._open.values()):
            while self._isolated and self._flying < max(1, self._pool.size() // 2):
                one = self._isolated.popleft()
                self._give(_Open(one.unit, self._pool.now(), alone=True, told=one.told))
        return bool(self._open) or not self._exhausted

    def _give(self, one: _Open) -> None:
        self._number += 1
        self._open[self._number] = one
        self._copy(self._number)

    def _copy(self, number: int) -> None:
        one = self._open[number]
        copy = Copy(number, len(one.windows))
        one.windows[copy.attempt] = 0
        one.alive.add(copy)
        self._flying += 1
        unit = one.unit
        if one.alone and unit.smaller is not None:  # perhaps its workers died for want of memory
            unit = unit._replace(task=unit.smaller)
        self._pool.submit(copy, unit, one.worker)

    # ----------------------------------------------------------------- what workers say

    def _handle(self, message: Message) -> None:
        one = self._open.get(message.copy.unit)
        if one is None or message.copy not in one.alive:
            return  # another copy was faster
        if isinstance(message, Told):
            self._told(one, message)
        elif isinstance(message, Died):
            self._died(one, message)
        else:
            self._close(message.copy.unit)
            self._ended += 1
            self._finish(one, message.event)

    def _told(self, one: _Open, message: Told) -> None:
        event = message.event
        if isinstance(event, WindowsDone):  # a second attempt begins anew: never told twice
            one.windows[message.copy.attempt] += event.windows
            self._tell_windows(one, one.windows[message.copy.attempt])
        elif isinstance(event, TileStarted):
            one.since, one.begun, one.worker = self._pool.now(), True, event.worker
            one.windows[message.copy.attempt] = 0  # a copy whose worker died begins anew
            one.unit.on_event(event)

    def _died(self, one: _Open, message: Died) -> None:
        one.alive.discard(message.copy)
        one.died += 1
        self._flying -= 1
        # A second copy may end yet; but where it is given anew for each that died, it never ends.
        if one.alive and one.died < _DEATHS:
            return
        self._close(message.copy.unit)
        if not one.alone:
            self._isolated.append(one)
            return
        self._ended += 1
        reason = f"the workers that computed it died, alone as well: {message.reason}"
        one.unit.on_event(TileLost(one.unit.tile.index, reason))

    def _finish(self, one: _Open, event: Event) -> None:
        if isinstance(event, TileDone):
            self._seconds.append(event.receipt.seconds)
            self._tell_windows(one, event.receipt.evaluated + event.receipt.skipped)
        one.unit.on_event(event)

    def _tell_windows(self, one: _Open, done: int) -> None:
        if done > one.told:
            one.unit.on_event(WindowsDone(one.unit.tile.index, done - one.told))
            one.told = done

    def _close(self, number: int) -> None:
        alive = self._open.pop(number).alive
        self._flying -= len(alive)
        self._pool.forget(alive)

    # ----------------------------------------------------------------- stragglers

    def _look_after_slow_ones(self) -> None:
        """Give a second copy to what is slow, once nothing is left to give out and half is done."""
        now = self._pool.now()
        if not self._exhausted or now - self._looked < _TICK:
            return
        self._looked = now
        if self._ended < len(self._open) or not self._seconds:
            return
        usual = median(self._seconds)
        limit = max(_SLOW * usual, _SLOW_SECONDS)
        room = PER_WORKER * self._pool.size()
        for number, one in self._open.items():
            waited = now - one.since - (0.0 if one.begun else usual)
            if self._flying < room and len(one.alive) == 1 and not one.alone and waited > limit:
                self._copy(number)
