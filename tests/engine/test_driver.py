"""The driver's rules, on workers of a simulated clock; real ones are in test_dask.py."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.tasks import Trivial, units
from tiledseg.engine import Event, Receipt, TileDone, TileLost, TileStarted, Unit, WindowsDone
from tiledseg.engine._driver import PER_WORKER, Copy, Died, Driver, Ended, Message, Told


@dataclass
class Workers:
    """Simulated workers, each with a queue of its own; those that die are replaced at once.

    A worker that dies takes all its copies with it. As Dask does it, each of them is given to
    another worker, and reported as dead when its workers died twice.
    """

    count: int
    seconds: dict[int, float] = field(default_factory=dict)
    poison: frozenset[int] = frozenset()
    #: Seconds of every attempt but the first.
    again: float = 1.0
    clock: float = 0.0
    most: int = 0
    #: Per copy, its tile and how many workers died with it.
    given: dict[Copy, tuple[Unit, int]] = field(default_factory=dict)
    queues: dict[int, list[Copy]] = field(default_factory=dict)
    heap: list[tuple[float, int, Copy]] = field(default_factory=list)
    out: list[tuple[float, Message]] = field(default_factory=list)
    submitted: Counter[int] = field(default_factory=Counter)

    def size(self) -> int:
        return self.count

    def now(self) -> float:
        return self.clock

    def submit(self, copy: Copy, unit: Unit, avoid: str | None) -> None:
        self.given[copy] = (unit, 0)
        self.submitted[unit.tile.index] += 1
        self._queue(copy, avoid)
        self.most = max(self.most, len(self.given))

    def _queue(self, copy: Copy, avoid: str | None) -> None:
        free = [w for w in range(self.count) if avoid is None or str(w) != avoid]
        worker = min(free or range(self.count), key=lambda w: len(self.queues.get(w, [])))
        self.queues.setdefault(worker, []).append(copy)
        if len(self.queues[worker]) == 1:
            self._begin(worker)

    def _begin(self, worker: int) -> None:
        while self.queues[worker] and self.queues[worker][0] not in self.given:
            self.queues[worker].pop(0)  # forgotten before it began
        if not self.queues[worker]:
            return
        copy = self.queues[worker][0]
        index = self.given[copy][0].tile.index
        self.out.append((self.clock, Told(copy, TileStarted(index, str(worker)))))
        self.out.append((self.clock, Told(copy, WindowsDone(index, 1))))  # told again after a death
        takes = self._takes(copy, index)
        heapq.heappush(self.heap, (self.clock + takes, worker, copy))

    def _takes(self, copy: Copy, index: int) -> float:
        return self.seconds.get(index, 1.0) if copy.attempt == 0 else self.again

    def take(self, seconds: float) -> Message | None:
        if not self.out and (not self.heap or self.heap[0][0] > self.clock + seconds):
            self.clock += seconds
            return None
        if not self.out:
            self.clock, worker, copy = heapq.heappop(self.heap)
            self._end(worker, copy)
        return self.out.pop(0)[1] if self.out else None

    def _end(self, worker: int, copy: Copy) -> None:
        queue = self.queues[worker]
        if not queue or queue[0] != copy:
            return  # died meanwhile
        index = self.given[copy][0].tile.index if copy in self.given else -1
        if index in self.poison:
            self._die(worker)
            return
        queue.pop(0)
        if copy in self.given:
            takes = self._takes(copy, index)
            receipt = Receipt(index, 2, 0, 0, takes, {}, (1,), (1.0,), str(worker))
            self.out.append((self.clock, Ended(copy, TileDone(receipt))))
        if queue:
            self._begin(worker)

    def _die(self, worker: int) -> None:
        lost, self.queues[worker] = self.queues[worker], []
        for copy in lost:
            if copy not in self.given:
                continue
            unit, deaths = self.given[copy]
            if deaths == 1:
                del self.given[copy]
                self.out.append((self.clock, Died(copy, f"worker {worker}")))
            else:
                self.given[copy] = (unit, deaths + 1)
                self._queue(copy, None)

    def forget(self, copies: Iterable[Copy]) -> None:
        for copy in copies:
            self.given.pop(copy, None)


def run(workers: Workers, tiles: int) -> list[Event]:
    """Compute so many tiles and return all events."""
    events: list[Event] = []

    Driver(workers, units(Trivial(), tiles, events.append)).run()
    return events


def ended(events: list[Event]) -> list[int]:
    return sorted(
        e.receipt.tile if isinstance(e, TileDone) else e.tile
        for e in events
        if isinstance(e, TileDone | TileLost)
    )


@given(st.integers(1, 9), st.integers(0, 60), st.sets(st.integers(0, 59), max_size=4), st.randoms())
def test_every_tile_ends_once_and_only_poison_is_lost(
    workers: int, tiles: int, poison: set[int], chance: random.Random
) -> None:
    times = {i: chance.choice([0.1, 1.0, 3.0, 40.0]) for i in range(tiles)}
    pool = Workers(workers, times, frozenset(poison))
    events = run(pool, tiles)
    assert ended(events) == list(range(tiles))
    lost = {e.tile for e in events if isinstance(e, TileLost)}
    assert lost == {i for i in poison if i < tiles}
    assert pool.most <= PER_WORKER * workers
    windows = Counter[int]()
    for event in events:
        if isinstance(event, WindowsDone):
            windows[event.tile] += event.windows
    assert windows == {i: 1 if i in lost else 2 for i in range(tiles)}  # never told twice


def test_a_lost_tile_says_why() -> None:
    (lost,) = [e for e in run(Workers(3, poison=frozenset({5})), 30) if isinstance(e, TileLost)]
    assert "died" in lost.reason
    assert "worker" in lost.reason


def test_a_tile_that_kills_late_is_isolated_all_the_same() -> None:
    """Its second copy is given out before the first has killed anybody."""
    pool = Workers(4, {7: 40.0}, poison=frozenset({7}), again=40.0)
    (lost,) = [e for e in run(pool, 30) if isinstance(e, TileLost)]
    assert lost.tile == 7
    assert pool.submitted[7] <= 4
    assert pool.clock < 1000


def test_a_straggler_gets_a_second_copy_elsewhere() -> None:
    pool = Workers(4, {7: 1000.0})
    events = run(pool, 40)
    assert ended(events) == list(range(40))
    assert pool.clock < 100
    assert pool.submitted[7] == 2
    begun = [e.worker for e in events if isinstance(e, TileStarted) and e.tile == 7]
    assert len(set(begun)) == 2


def test_what_waits_behind_a_straggler_is_not_forgotten() -> None:
    """The copy that waits on the same worker never begins there."""
    pool = Workers(2, {0: 1000.0})
    events = run(pool, 12)
    assert ended(events) == list(range(12))
    assert pool.clock < 100


def test_even_times_bring_no_second_copies() -> None:
    pool = Workers(4, {i: 8.0 + i % 3 for i in range(50)})
    run(pool, 50)
    assert set(pool.submitted.values()) == {1}


def test_units_are_taken_as_there_is_room() -> None:
    taken: list[int] = []
    events: list[Event] = []

    def taking() -> Iterator[Unit]:
        for i, unit in enumerate(units(Trivial(), 30, events.append)):
            taken.append(i - sum(isinstance(e, TileDone) for e in events))
            yield unit

    Driver(Workers(3), taking()).run()
    assert max(taken) < PER_WORKER * 3


def test_an_error_of_the_listener_ends_the_run_and_stops_the_copies() -> None:
    pool = Workers(2)

    def listen(event: Event) -> None:
        if isinstance(event, TileDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Driver(pool, units(Trivial(), 9, listen)).run()
    assert not pool.given
