"""Who computes the tiles of a run, and what each worker may use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..budget import parse_bytes
from ..config import RunConfig, RuntimeSpec
from ..document import brief, read_mapping
from ..engine import Runner, SerialRunner, ThreadRunner, machine
from ..errors import ConfigError

Say = Callable[[str], None]
#: Share of a job's memory that its processes use; the rest is for what runs beside them.
_OF_A_JOB = 0.9
#: Jobs, cores and processes that a mistake, not a cluster, asks for beyond.
_MOST = 4096


@dataclass(frozen=True)
class ClusterSpec:
    """A batch system whose jobs are the workers.

    Args:
        kind: ``slurm``, ``pbs``, ``lsf`` ...
        jobs: How many at a time.
        settings: What dask-jobqueue takes.
    """

    kind: str
    jobs: int
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> ClusterSpec:
        """Return the cluster that a YAML file describes.

        Raises:
            ConfigError: It cannot be read, or lacks something.
        """
        values = read_mapping(Path(path), f"cluster {path}")
        kind, jobs = values.pop("kind", None), values.pop("jobs", None)
        processes = values.get("processes")
        numbers = {"cores": values.get("cores"), "processes": 1 if processes is None else processes}
        for name, value in {"jobs": jobs, **numbers}.items():
            if type(value) is not int or not 1 <= value <= _MOST:
                raise ConfigError(
                    f"cluster {path}: {name} must be a number from 1 to {_MOST}, got {brief(value)}"
                )
        if not isinstance(kind, str) or "memory" not in values:
            raise ConfigError(f"cluster {path}: give kind (slurm, pbs ...) and memory, like 8GB")
        extra = values.setdefault("worker_extra_args", [])
        if not isinstance(extra, list) or not all(isinstance(word, str) for word in extra):
            raise ConfigError(
                f"cluster {path}: worker_extra_args must be a list of words, got {brief(extra)}"
            )
        return cls(kind, jobs, values)

    @property
    def processes(self) -> int:
        """Worker processes in a job."""
        return int(self.settings.get("processes") or 1)


def threads_of(config: RunConfig) -> int:
    """Return the threads of one model call: as asked for, else the cores of a worker.

    Raises:
        ConfigError: Nobody can know how many cores the workers have.
    """
    spec = config.runtime
    if spec.threads is not None:
        return spec.threads
    if spec.scheduler is not None:
        raise ConfigError(
            f"the workers of {spec.scheduler} may have any number of cores, and the bytes of the "
            "result depend on the threads of a model call: say how many with --threads"
        )
    if spec.cluster is not None:
        cluster = ClusterSpec.read(spec.cluster)
        return max(1, int(cluster.settings["cores"]) // cluster.processes)
    return max(1, machine.cores() // spec.workers)


def workers_of(config: RunConfig) -> int:
    """Return how many tiles are computed at the same time, as far as that is known."""
    spec = config.runtime
    if spec.cluster is not None:
        cluster = ClusterSpec.read(spec.cluster)
        return cluster.jobs * cluster.processes
    return spec.workers


def memory_of(config: RunConfig) -> int:
    """Return the bytes a process may hold: as asked for, else its share of what is free."""
    spec = config.runtime
    if config.budget.memory is not None:
        return parse_bytes(config.budget.memory)
    if spec.scheduler is not None:
        raise ConfigError(
            f"the workers of {spec.scheduler} may have any memory: say how much each may take with "
            "--memory"
        )
    if spec.cluster is not None:
        cluster = ClusterSpec.read(spec.cluster)
        return int(parse_bytes(str(cluster.settings["memory"])) * _OF_A_JOB) // cluster.processes
    processes = spec.workers if spec.distributed else 1
    return machine.resident() + machine.available() // 2 // processes


def _gpus(spec: RuntimeSpec) -> int:
    """Return the GPUs for the workers of this machine, 0 where they compute on the CPU.

    Raises:
        ConfigError: There are fewer than workers, or one of them was asked for.
    """
    if spec.device in (None, "cpu"):
        return 0
    gpus = torch.cuda.device_count()
    if spec.device != "cuda" or spec.workers > gpus:
        raise ConfigError(
            f"runtime.device {spec.device} with {spec.workers} Dask workers: every worker takes a "
            f"GPU of its own, and there are {gpus}: take device cuda and at most {gpus} workers"
        )
    return gpus


@contextmanager
def open_runner(config: RunConfig, say: Say | None) -> Iterator[Runner]:
    """Start, or connect to, what computes the tiles.

    Args:
        config: The settings.
        say: Told what a person wants to know: where the dashboard is. None: the log "tiledseg".
    """
    spec, say = config.runtime, say or logging.getLogger("tiledseg").info
    if not spec.distributed:
        yield SerialRunner() if spec.workers == 1 else ThreadRunner(spec.workers)
        return
    from ..engine._dask import batch_system, local_workers, running_cluster

    if spec.cluster is not None:
        cluster = ClusterSpec.read(spec.cluster)
        opened = batch_system(cluster.kind, cluster.jobs, cluster.settings, say)
    elif spec.scheduler is not None:
        opened = running_cluster(spec.scheduler, say)
    else:
        opened = local_workers(spec.workers, _gpus(spec), say)
    with opened as runner:
        yield runner
