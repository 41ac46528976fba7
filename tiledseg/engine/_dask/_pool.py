"""The pool of a driver whose workers are those of a Dask cluster."""

from __future__ import annotations

import pickle
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from distributed import Client, Future, get_worker
from distributed.scheduler import KilledWorker

from ...errors import ClusterFailed
from .._driver import Copy, Died, Driver, Ended, Message, Told
from .._events import Event, RunStopped, TileLost, TileStarted, WindowsDone
from .._runner import Runner, Unit, compute
from ._leaving import LEFT, Leaving

Say = Callable[[str], None]
#: First part of every key: Dask gathers its figures by it.
_PREFIX = "tiledseg"
#: Seconds for which the list of workers is believed, and between two words of a tile's progress.
_FRESH, _WORD_EVERY = 1.0, 2.0
#: Seconds without a worker after which that is told.
_ALONE = 20.0
#: Characters of a reason that travel home.
_REASON = 500
#: How often workers may leave a copy before it counts as one that drives them out: what watches
#: over memory may send SIGTERM, too.
_EXCUSES = 8
_one_at_a_time = threading.Lock()


class DaskRunner(Runner):
    """Computes tiles on the workers of a cluster, one at a time per process.

    Tasks must be picklable, and small: they travel with every tile.

    Args:
        client: Connected to the cluster.
        say: Told when there is no worker.
        hopeless: Says why no worker will ever come; None where one may.
    """

    def __init__(
        self, client: Client, say: Say, hopeless: Callable[[], str | None] = lambda: None
    ) -> None:
        self._client, self._say, self._hopeless = client, say, hopeless

    def run(self, units: Iterable[Unit]) -> None:
        """Compute ``units``.

        Raises:
            ClusterFailed: The cluster was lost, or its workers cannot compute tiles.
        """
        _require_tiledseg(self._client)
        with _pool(self._client, self._say, self._hopeless) as pool:
            Driver(pool, units).run()


def _require_tiledseg(client: Client) -> None:
    """Refuse workers that would not understand a tile: Dask drops them without a word."""
    mine = version("tiledseg")
    for address, found in client.run(version, "tiledseg", on_error="return").items():
        if found != mine:
            told = f"tiledseg {found}" if isinstance(found, str) else f"no tiledseg ({found})"
            raise ClusterFailed(
                f"worker {address} has {told}, the driver has {mine}: install the same on all"
            )


@dataclass
class _Flight:
    """A copy on its way.

    Args:
        unit: Task and tile, pickled.
        others: Workers to take if possible; none: any.
        excused: How often it was given out anew because its workers left in order.
        future: What Dask knows it as.
    """

    unit: bytes
    others: list[str]
    excused: int = 0
    future: Future = field(init=False)


class _DaskPool:
    """A cluster as the driver's pool."""

    def __init__(self, client: Client, say: Say, hopeless: Callable[[], str | None]) -> None:
        self._client, self._say, self._hopeless = client, say, hopeless
        self._lost = (  # told when the client knows its scheduler no more
            f"the connection to the scheduler at {client.scheduler.address} is lost; finished "
            "tiles are kept: run the same command again to go on"
        )
        self._topic = f"{_PREFIX}-{uuid.uuid4().hex[:12]}"
        self._inbox: queue.SimpleQueue[tuple[Copy, Future | Event]] = queue.SimpleQueue()
        self._flights: dict[Copy, _Flight] = {}
        self._left: set[str] = set()
        self._workers: dict[str, str] = {}
        self._asked = float("-inf")
        self._alone_since: float | None = None
        client.register_plugin(Leaving())
        client.subscribe_topic(LEFT, lambda message: self._left.add(message[1]))
        client.subscribe_topic(self._topic, self._hear)

    def close(self) -> None:
        """Stop listening."""
        if self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)
            self._client.unsubscribe_topic(LEFT)

    def size(self) -> int:
        """Return how many workers there are; asked at most once a second."""
        if self.now() - self._asked > _FRESH:
            if self._client.status != "running":
                raise ClusterFailed(self._lost)
            self._workers = dict.fromkeys(self._client.nthreads(), "")
            self._asked = self.now()
            self._tell_of_none()
        return len(self._workers)

    def _tell_of_none(self) -> None:
        """Say once that nobody works; workers of a batch system may wait in a queue for hours.

        Raises:
            ClusterFailed: None will come.
        """
        if self._workers:
            self._alone_since = None
            return
        why = self._hopeless()
        if why is not None:
            raise ClusterFailed(why)
        if self._alone_since is None:
            self._alone_since = self.now()
        elif self.now() - self._alone_since > _ALONE:
            self._say("no worker is there: waiting for one")
            self._alone_since = float("inf")

    def now(self) -> float:
        """Return seconds."""
        return time.monotonic()

    def submit(self, copy: Copy, unit: Unit, avoid: str | None) -> None:
        """Submit a copy under a key of its own."""
        others = [address for address in self._workers if avoid is not None and address != avoid]
        self._flights[copy] = _Flight(pickle.dumps((unit.task, unit.tile)), others)
        self._send(copy)

    def _send(self, copy: Copy) -> None:
        flight = self._flights[copy]
        flight.future = self._client.submit(
            *(_work, self._topic, copy, flight.unit),
            key=(self._topic, *copy, flight.excused),
            pure=False,
            workers=flight.others or None,
            allow_other_workers=bool(flight.others),
        )
        self._listen(copy, flight.future)

    def take(self, seconds: float) -> Message | None:
        """Return the next message."""
        try:
            copy, what = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return None
        if not isinstance(what, Future):
            return Told(copy, what)
        return None if copy not in self._flights else self._outcome(copy, what)

    def forget(self, copies: Iterable[Copy]) -> None:
        """Cancel copies that have not begun; results of others are dropped."""
        futures = [self._flights.pop(copy).future for copy in copies if copy in self._flights]
        running = [future for future in futures if not future.done()]
        if running and self._client.status == "running":
            self._client.cancel(running)

    def _outcome(self, copy: Copy, future: Future) -> Message | None:
        """Return how a copy ended; None where its result died with its worker: it is made anew."""
        if future.status in ("pending", "lost"):
            threading.Timer(_FRESH, self._listen, (copy, future)).start()  # "lost" tells at once
            return None
        try:
            return Ended(copy, future.result())
        except KilledWorker as error:
            return self._killed(copy, error.last_worker.address)
        except CancelledError:
            raise ClusterFailed(self._lost) from None
        except Exception as error:  # the task could not be sent, or not be understood there
            said = " ".join(f"{type(error).__name__}: {error}".split())[:_REASON]
            sentence = (
                f"a worker could not compute a tile: {said}; workers need the same tiledseg, "
                "image, model and work store as the driver"
            )
            return Ended(copy, RunStopped(ClusterFailed(sentence)))

    def _killed(self, copy: Copy, worker: str) -> Message | None:
        """Give a copy out anew whose last worker left in order; else it died with its worker."""
        flight = self._flights[copy]
        if worker in self._left and flight.excused < _EXCUSES:
            flight.excused += 1
            self._send(copy)
            return None
        del self._flights[copy]
        return Died(copy, f"last on {worker}")

    def _listen(self, copy: Copy, future: Future) -> None:
        future.add_done_callback(lambda done: self._inbox.put((copy, done)))

    def _hear(self, message: tuple[float, Any]) -> None:
        kind, copy, tile, what = message[1]
        event = TileStarted(tile, what) if kind == "started" else WindowsDone(tile, what)
        self._inbox.put((Copy(*copy), event))


@contextmanager
def _pool(client: Client, say: Say, hopeless: Callable[[], str | None]) -> Iterator[_DaskPool]:
    pool = _DaskPool(client, say, hopeless)
    try:
        yield pool
    finally:
        pool.close()


# --------------------------------------------------------------------- on a worker


def _work(topic: str, copy: Copy, unit: bytes) -> Event:
    """Compute a tile in a worker's process and return how it ended.

    Task and tile come pickled: Dask drops a worker that cannot understand what it is sent.
    """
    task, tile = pickle.loads(unit)  # noqa: S301  # what Dask does itself, with the same trust
    with _one_at_a_time:  # a worker with several threads still holds one tile's memory
        event = compute(task, tile, _Home(topic, copy))
    if isinstance(event, TileLost):
        return TileLost(event.tile, event.reason[:_REASON])
    return event


class _Home:
    """Tells the driver how a tile goes, a word now and then."""

    def __init__(self, topic: str, copy: Copy) -> None:
        self._topic, self._copy, self._worker = topic, copy, get_worker()
        self._said, self._windows = time.monotonic(), 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, TileStarted):
            self._say("started", event.tile, self._worker.address)
        elif isinstance(event, WindowsDone):
            self._windows += event.windows
            if time.monotonic() - self._said >= _WORD_EVERY:
                self._say("windows", event.tile, self._windows)
                self._said, self._windows = time.monotonic(), 0

    def _say(self, kind: str, tile: int, what: str | int) -> None:
        self._worker.log_event(self._topic, (kind, tuple(self._copy), tile, what))
