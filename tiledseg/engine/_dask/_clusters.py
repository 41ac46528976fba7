"""Workers: processes of this machine, a cluster that runs somewhere, jobs of a batch system."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from multiprocessing import forkserver
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.comm import connect
from distributed.utils import get_mp_context

from ...errors import ConfigError, MissingBackend
from . import _patience
from ._jobs import refusal, told_of
from ._pool import DaskRunner, Say

#: Seconds in which a scheduler should answer.
_PATIENCE = 10
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


@contextmanager
def local_workers(count: int, gpus: int, say: Say) -> Iterator[DaskRunner]:
    """Start worker processes on this machine, which listen on 127.0.0.1 only.

    Args:
        count: How many.
        gpus: GPUs for them, one each and at least ``count``; 0 where they compute on the CPU.
        say: Told where the dashboard is.
    """
    board = find_spec("bokeh") is not None
    home = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "dashboard": board}
    # A worker, also one in place of a dead one, is a copy of a process that has imported what this
    # one has, for seconds; so it is there at once. Not with GPUs: they do not bear being copied.
    method = "spawn" if gpus else "forkserver"
    given = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
    visible, workers = given.split(","), {}
    for i in range(count):
        env = {**os.environ, **({"CUDA_VISIBLE_DEVICES": visible[i]} if gpus else {})}
        only = {"host": "127.0.0.1", "nthreads": 1, "memory_limit": 0, "dashboard": False}
        quiet = {"silence_logs": logging.CRITICAL, "preload": [_patience.__name__]}
        workers[i] = {"cls": Nanny, "options": {**only, **quiet, "env": env}}
    started = {"distributed.worker.multiprocessing-method": method}
    with dask.config.set(_SETTINGS | _PATIENT | started), ExitStack() as stack:
        if method == "forkserver":
            mine = [name for name in list(sys.modules) if name.partition(".")[0] == "tiledseg"]
            get_mp_context().set_forkserver_preload(mine)
            with _no_interrupts():
                forkserver.ensure_running()
        scheduler = {"cls": Scheduler, "options": home}
        cluster = SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL)
        stack.enter_context(cluster)
        if board:
            say(f"dashboard at {cluster.dashboard_link}")
        yield DaskRunner(stack.enter_context(Client(cluster, set_as_default=False)), say)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Have a process that is started now, and its copies, take no notice of Ctrl-C from the first.

    What is ignored here is ignored there; a terminal sends an interrupt to every process at once.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


@contextmanager
def running_cluster(address: str, say: Say) -> Iterator[DaskRunner]:
    """Connect to a scheduler that runs somewhere.

    Raises:
        ConfigError: It cannot be reached.
    """
    if not address.startswith(("tcp://", "tls://")):
        raise ConfigError(f"the scheduler {address!r} has no address like tcp://10.0.0.1:8786")
    try:
        with ThreadPoolExecutor(1) as pool:  # a loop of its own, for callers that are in one
            pool.submit(asyncio.run, _knock(address)).result()
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200] or "no Dask scheduler answers there"
        raise ConfigError(f"the scheduler at {address} cannot be reached: {reason}") from None
    with client:
        say(f"dashboard at {client.dashboard_link}")
        yield DaskRunner(client, say)


async def _knock(address: str) -> None:
    """See whether a scheduler is there: a client would wait for ever for one that is none.

    Raises:
        OSError: Nobody answers in Dask's way.
    """
    comm = await asyncio.wait_for(connect(address, timeout=_PATIENCE), _PATIENCE)
    await comm.close()


@contextmanager
def batch_system(kind: str, jobs: int, settings: dict[str, Any], say: Say) -> Iterator[DaskRunner]:
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
    if kind not in made or kind in ("jobqueue", "local"):
        known = ", ".join(sorted(set(made) - {"jobqueue", "local"}))
        raise ConfigError(f"cluster kind {kind!r:.80} is not known: choose from {known}")
    program = str(getattr(dask_jobqueue, made[kind]).job_cls.submit_command).split()[0]
    if shutil.which(program) is None:
        raise ConfigError(f"cluster kind {kind}: its program {program!r} is not on this machine")
    # Workers elsewhere do not know the settings above; this one switches Dask's limits off there.
    unlimited = [*settings.get("worker_extra_args", []), "--memory-limit", "0"]
    settings = {**settings, "worker_extra_args": unlimited}
    with dask.config.set(_SETTINGS), ExitStack() as stack:
        try:
            made_of = getattr(dask_jobqueue, made[kind])
            settings["job_cls"] = told_of(made_of.job_cls)
            cluster = stack.enter_context(made_of(**settings))
        except Exception as error:  # wrong settings break it in places of its own
            reason = " ".join(f"{error} {error.__cause__ or ''}".split())[:300]
            raise ConfigError(
                f"a {kind} cluster of these settings cannot start: {reason}"
            ) from None
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # scale() does not replace lost ones
        say(f"dashboard at {cluster.dashboard_link}")
        client = stack.enter_context(Client(cluster, set_as_default=False))
        yield DaskRunner(client, say, lambda: refusal(program, cluster.workers.values()))
