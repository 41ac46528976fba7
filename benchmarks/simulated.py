"""Workers on a simulated clock: what the driver sees of thousands of them, faults included."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from typing import Any

from tiledseg.engine import Receipt, TileDone, TileLost, TileStarted, Unit, WindowsDone
from tiledseg.engine._driver import Copy, Died, Ended, Message, Told

#: Windows of every tile.
WINDOWS = 64


@dataclass(frozen=True)
class Weather:
    """What happens to workers and tiles; seconds are simulated.

    Args:
        median: Seconds of half of the tiles; they are distributed log-normally.
        spread: Standard deviation of their logarithm.
        transient: Share of tiles that meet errors which pass: up to ``backoff`` seconds more.
        backoff: See ``transient``.
        slow: Share of attempts that take 20 times as long.
        hung: Tiles whose first attempt never ends.
        broken: Tiles with an error of their own.
        poison: Tiles that kill every worker that computes them.
        life: Mean seconds until a worker is taken away.
        away: Seconds until another comes in its place.
        delay: Seconds that a message takes.
        word: Seconds between two words of a tile's progress.
    """

    median: float = 8.0
    spread: float = 0.5
    transient: float = 0.01
    backoff: float = 30.0
    slow: float = 0.001
    hung: int = 5
    broken: int = 50
    poison: int = 20
    life: float = 7200.0
    away: float = 120.0
    delay: float = 0.05
    word: float = 2.0


@dataclass
class _Worker:
    """A worker: its copies, of which it computes the first; the how many-th in its place it is."""

    copies: list[Copy] = field(default_factory=list)
    life: int = 0
    alive: bool = True


class SimulatedPool:
    """A `Pool` of simulated workers, which lose and give again their copies as Dask does.

    Args:
        workers: How many.
        tiles: How many tiles there are, to choose the bad ones from.
        weather: What happens.
    """

    def __init__(self, workers: int, tiles: int, weather: Weather) -> None:
        self._chance = random.Random(4)
        self._weather, self._clock, self._events = weather, 0.0, 0
        self._heap: list[tuple[float, int, Callable[..., Message | None], Any]] = []
        self._workers = [_Worker() for _ in range(workers)]
        #: Workers by the number of copies they hold; dicts, because they keep their order.
        self._holding: list[dict[int, None]] = [dict.fromkeys(range(workers)), {}, {}]
        self._alive = workers
        self._given: dict[Copy, tuple[int, int]] = {}
        bad = self._chance.sample(range(tiles), weather.hung + weather.broken + weather.poison)
        self.hung = frozenset(bad[: weather.hung])
        self.broken = frozenset(bad[weather.hung : weather.hung + weather.broken])
        self.poison = frozenset(bad[weather.hung + weather.broken :])
        self.submitted = self.messages = self.deaths = 0
        self.most = self.cpu = 0.0
        for number in range(workers):
            self._age(number)

    # ----------------------------------------------------------------- what the driver calls

    def size(self) -> int:
        """Return the workers alive."""
        return self._alive

    def now(self) -> float:
        """Return the simulated time."""
        return self._clock

    def submit(self, copy: Copy, unit: Unit, avoid: str | None) -> None:
        """Take a copy."""
        began = time.thread_time()
        self.submitted += 1
        self._given[copy] = (unit.tile.index, 0)
        self.most = max(self.most, len(self._given) / max(1, self._alive))
        self._assign(copy, avoid)
        self.cpu += time.thread_time() - began

    def take(self, seconds: float) -> Message | None:
        """Return the next message."""
        began = time.thread_time()
        until, message = self._clock + seconds, None
        while message is None and self._heap and self._heap[0][0] <= until:
            self._clock, _, action, what = heappop(self._heap)
            message = action(what)
        if message is None:
            self._clock = until
        else:
            self.messages += 1
        self.cpu += time.thread_time() - began
        return message

    def forget(self, copies: Iterable[Copy]) -> None:
        """Drop copies; those being computed go on, as in Dask."""
        for copy in copies:
            self._given.pop(copy, None)

    # ----------------------------------------------------------------- what happens

    def _later(self, seconds: float, action: Callable[..., Message | None], what: Any) -> None:
        self._events += 1
        heappush(self._heap, (self._clock + seconds, self._events, action, what))

    def _tell(self, message: Message, seconds: float = 0.0) -> None:
        self._later(seconds + self._weather.delay, _itself, message)

    def _assign(self, copy: Copy, avoid: str | None = None) -> None:
        """Give a copy to one of those who hold fewest, if possible another than ``avoid``."""
        found = (n for held in self._holding for n in islice(held, 2) if str(n) != avoid)
        number = next(found, None)
        if number is None:  # nobody is there
            self._later(self._weather.away, self._assign, copy)
            return
        copies = self._workers[number].copies
        self._move(number, len(copies), len(copies) + 1)
        copies.append(copy)
        if len(copies) == 1:
            self._begin(number)

    def _move(self, number: int, held: int, holds: int) -> None:
        self._holding[min(held, 2)].pop(number, None)
        self._holding[min(holds, 2)][number] = None

    def _begin(self, number: int) -> None:
        worker, weather = self._workers[number], self._weather
        copy = worker.copies[0]
        if copy not in self._given:  # forgotten before it began
            self._leave(number)
            return
        tile = self._given[copy][0]
        seconds = self._seconds(tile, copy)
        self._tell(Told(copy, TileStarted(tile, str(number))))
        if tile in self.hung and copy.attempt == 0:
            return
        for i in range(1, int(seconds / weather.word) + 1):
            said = WindowsDone(tile, WINDOWS // (int(seconds / weather.word) + 1))
            if i * weather.word < seconds:
                self._tell(Told(copy, said), i * weather.word)
        self._later(seconds, self._end, (number, worker.life, copy, seconds))

    def _seconds(self, tile: int, copy: Copy) -> float:
        chance, weather = self._chance, self._weather
        seconds = weather.median * chance.lognormvariate(0, weather.spread)
        if chance.random() < weather.transient:
            seconds += chance.uniform(1, weather.backoff)
        if chance.random() < weather.slow:
            seconds *= 20
        return seconds

    def _end(self, what: tuple[int, int, Copy, float]) -> None:
        number, life, copy, seconds = what
        worker = self._workers[number]
        if worker.life != life:
            return  # it died meanwhile
        given = self._given.get(copy)
        if given is not None and given[0] in self.poison:
            self._die((number, life))
            return
        self._leave(number)
        if given is None:
            return  # another copy was faster
        del self._given[copy]
        tile, name = given[0], str(number)
        if tile in self.broken:
            self._tell(Ended(copy, TileLost(tile, "ValueError: broken")))
        else:
            waited = {"reading": 0.1, "writing": 0.1}
            areas, samples = (1.0,) * 6, (1,) * 6
            receipt = Receipt(tile, WINDOWS, 0, 0, seconds, waited, samples, areas, name)
            self._tell(Ended(copy, TileDone(receipt)))

    def _leave(self, number: int) -> None:
        copies = self._workers[number].copies
        copies.pop(0)
        self._move(number, len(copies) + 1, len(copies))
        if copies:
            self._begin(number)

    def _age(self, number: int) -> None:
        life = self._chance.expovariate(1 / self._weather.life)
        self._later(life, self._die, (number, self._workers[number].life))

    def _die(self, what: tuple[int, int]) -> None:
        """Take a worker away; its copies go to others, and are reported at the second time."""
        number, life = what
        worker = self._workers[number]
        if worker.life != life or not worker.alive:
            return
        self.deaths += 1
        self._alive -= 1
        self._holding[min(len(worker.copies), 2)].pop(number, None)
        lost, worker.copies, worker.alive = worker.copies, [], False
        worker.life += 1
        self._later(self._weather.away, self._come, number)
        for copy in lost:
            if copy not in self._given:
                continue
            tile, deaths = self._given[copy]
            if deaths == 0:
                self._given[copy] = (tile, 1)
                self._assign(copy)
            else:
                del self._given[copy]
                self._tell(Died(copy, f"last on {number}"))

    def _come(self, number: int) -> None:
        self._workers[number].alive = True
        self._alive += 1
        self._holding[0][number] = None
        self._age(number)


def _itself(message: Message) -> Message:
    return message
