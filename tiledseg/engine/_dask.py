"""Tiles on the workers of a Dask cluster; the only door to dask.distributed and dask-jobqueue."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import dask
from distributed import Client, Future, Nanny, Scheduler, SpecCluster, get_worker
from distributed.scheduler import KilledWorker

from ..errors import ClusterFailed, ConfigError, MissingBackend
from ..tiling import Tile
from ._driver import Copy, Died, Driver, Ended, Message, Told
from ._events import Event, RunStopped, TileLost, TileStarted, WindowsDone
from ._runner import Runner, Task, Unit, compute

#: First part of every key: Dask gathers its figures by it.
_PREFIX = "tiledseg"
#: Seconds for which the list of workers is believed, and between two words of a tile's progress.
_FRESH, _WORD_EVERY = 1.0, 2.0
#: Characters of a reason that travel home.
_REASON = 500
_SETTINGS = {
    # A unit whose worker died is tried once more among the others, then in isolation.
    "distributed.scheduler.allowed-failures": 1,
    # tiledseg keeps within its own budget; Dask would pause and kill at a share of the machine.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}
#: A nanny starts its worker again, be it ever so slow; Dask would give the nanny up meanwhile.
_PATIENT = {"distributed.deploy.lost-worker-timeout": "365 days"}
_one_at_a_time = threading.Lock()


class DaskRunner(Runner):
    """Computes tiles on the workers of a cluster, one at a time per process.

    Tasks must be picklable, and small: they travel with every tile.

    Args:
        client: Connected to the cluster.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(self, units: Iterable[Unit]) -> None:
        """Compute ``units``.

        Raises:
            ClusterFailed: The cluster was lost, or its workers cannot compute tiles.
        """
        with _pool(self._client) as pool:
            Driver(pool, units).run()


class _DaskPool:
    """A cluster as the driver's pool."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._topic = f"{_PREFIX}-{uuid.uuid4().hex[:12]}"
        self._inbox: queue.SimpleQueue[tuple[Copy, Future | Event]] = queue.SimpleQueue()
        self._futures: dict[Copy, Future] = {}
        self._workers: dict[str, str] = {}
        self._asked = float("-inf")
        client.subscribe_topic(self._topic, self._hear)

    def close(self) -> None:
        """Stop listening."""
        if self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)

    def size(self) -> int:
        """Return how many workers there are; asked at most once a second."""
        if self.now() - self._asked > _FRESH:
            if self._client.status != "running":
                raise ClusterFailed(_lost(self._client))
            self._workers = dict.fromkeys(self._client.nthreads(), "")
            self._asked = self.now()
        return len(self._workers)

    def now(self) -> float:
        """Return seconds."""
        return time.monotonic()

    def submit(self, copy: Copy, unit: Unit, avoid: str | None) -> None:
        """Submit a copy under a key of its own."""
        others = [address for address in self._workers if avoid is not None and address != avoid]
        future = self._client.submit(
            _work,
            *(self._topic, copy, unit.task, unit.tile),
            key=(self._topic, *copy),
            pure=False,
            workers=others or None,
            allow_other_workers=bool(others),
        )
        self._futures[copy] = future
        self._listen(copy, future)

    def take(self, seconds: float) -> Message | None:
        """Return the next message."""
        try:
            copy, what = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return None
        if not isinstance(what, Future):
            return Told(copy, what)
        return None if copy not in self._futures else self._outcome(copy, what)

    def forget(self, copies: Iterable[Copy]) -> None:
        """Cancel copies that have not begun; results of others are dropped."""
        futures = [self._futures.pop(copy) for copy in copies if copy in self._futures]
        running = [future for future in futures if not future.done()]
        if running and self._client.status == "running":
            self._client.cancel(running)

    def _outcome(self, copy: Copy, future: Future) -> Message | None:
        """Return how a copy ended; None where its result died with its worker: it is made anew."""
        if future.status in ("pending", "lost"):
            self._listen(copy, future)
            return None
        try:
            return Ended(copy, future.result())
        except KilledWorker as error:
            self._futures.pop(copy, None)
            return Died(copy, f"last on {error.last_worker.address}")
        except CancelledError:
            raise ClusterFailed(_lost(self._client)) from None
        except Exception as error:  # the task could not be sent, or not be understood there
            said = " ".join(f"{type(error).__name__}: {error}".split())[:_REASON]
            sentence = (
                f"a worker could not compute a tile: {said}; workers need the same tiledseg, "
                "image, model and work store as the driver"
            )
            return Ended(copy, RunStopped(ClusterFailed(sentence)))

    def _listen(self, copy: Copy, future: Future) -> None:
        future.add_done_callback(lambda done: self._inbox.put((copy, done)))

    def _hear(self, message: tuple[float, Any]) -> None:
        kind, copy, tile, what = message[1]
        event = TileStarted(tile, what) if kind == "started" else WindowsDone(tile, what)
        self._inbox.put((Copy(*copy), event))


@contextmanager
def _pool(client: Client) -> Iterator[_DaskPool]:
    pool = _DaskPool(client)
    try:
        yield pool
    finally:
        pool.close()


def _lost(client: Client) -> str:
    return (
        f"the connection to the scheduler at {client.scheduler.address} is lost; finished tiles "
        "are kept: run the same command again to go on"
    )


# --------------------------------------------------------------------- on a worker


def _work(topic: str, copy: Copy, task: Task, tile: Tile) -> Event:
    """Compute a tile in a worker's process and return how it ended."""
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


# --------------------------------------------------------------------- clusters


@contextmanager
def local_workers(count: int, gpus: int, say: Callable[[str], None]) -> Iterator[DaskRunner]:
    """Start worker processes on this machine, which listen on 127.0.0.1 only.

    Args:
        count: How many.
        gpus: GPUs to share among them, one each; 0 where they compute on the CPU.
        say: Told where the dashboard is.
    """
    board = find_spec("bokeh") is not None
    home = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "dashboard": board}
    workers = {}
    for i in range(count):
        env = {"CUDA_VISIBLE_DEVICES": str(i % gpus)} if gpus else {}
        only = {"host": "127.0.0.1", "nthreads": 1, "memory_limit": 0, "dashboard": False}
        quiet = {"silence_logs": logging.CRITICAL}
        workers[i] = {"cls": Nanny, "options": {**only, **quiet, "env": env}}
    with dask.config.set(_SETTINGS | _PATIENT), ExitStack() as stack:
        scheduler = {"cls": Scheduler, "options": home}
        cluster = SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL)
        stack.enter_context(cluster)
        if board:
            say(f"dashboard at {cluster.dashboard_link}")
        yield DaskRunner(stack.enter_context(Client(cluster)))


@contextmanager
def running_cluster(address: str, say: Callable[[str], None]) -> Iterator[DaskRunner]:
    """Connect to a scheduler that runs somewhere.

    Raises:
        ConfigError: It cannot be reached.
    """
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"the scheduler at {address} cannot be reached: {reason}") from None
    with client:
        say(f"dashboard at {client.dashboard_link}")
        yield DaskRunner(client)


@contextmanager
def batch_system(
    kind: str, jobs: int, settings: dict[str, Any], say: Callable[[str], None]
) -> Iterator[DaskRunner]:
    """Start workers as jobs of a batch system, and new ones where jobs end.

    Args:
        kind: ``slurm``, ``pbs``, ``lsf``, ``sge``, ``oar``, ``moab`` or ``htcondor``.
        jobs: How many at a time.
        settings: What dask-jobqueue's class for it takes: cores, memory, walltime, queue ...
        say: Told where the dashboard is.

    Raises:
        MissingBackend: dask-jobqueue is not installed.
        ConfigError: A setting it does not know, or no such batch system.
    """
    try:
        import dask_jobqueue
    except ImportError:
        raise MissingBackend("dask_jobqueue", "hpc", "runtime.cluster") from None
    made = {name.removesuffix("Cluster").lower(): name for name in vars(dask_jobqueue)}
    made = {name: whole for name, whole in made.items() if whole.endswith("Cluster")}
    if kind not in made:
        known = ", ".join(sorted(made))
        raise ConfigError(f"cluster kind {kind!r} is not known: choose from {known}")
    with dask.config.set(_SETTINGS), ExitStack() as stack:
        try:
            cluster = stack.enter_context(getattr(dask_jobqueue, made[kind])(**settings))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"cluster settings of {kind}: {error}") from None
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # scale() does not replace lost ones
        say(f"dashboard at {cluster.dashboard_link}")
        yield DaskRunner(stack.enter_context(Client(cluster)))
