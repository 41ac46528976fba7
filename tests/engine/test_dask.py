"""Real worker processes: they are killed, stall, and raise; nothing else is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tiledseg.engine import Event, Runner, RunStopped, TileDone, TileLost, WindowsDone
from tiledseg.errors import ClusterFailed, ConfigError, DamagedInput

pytest.importorskip("distributed")

import dask
from distributed import LocalCluster

from tests.engine.tasks import Faulty, Poisoned, Preempted, Slow, Trivial, units
from tiledseg.engine._dask import _clusters, batch_system, local_workers, running_cluster


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """Two workers, which find this module's tasks where pytest was started."""
    with local_workers(2, 0, lambda line: None) as runner:
        yield runner


def run(runner: Runner, task: Trivial, count: int) -> list[Event]:
    events: list[Event] = []
    runner.run(units(task, count, events.append))
    return events


def done(events: list[Event]) -> list[int]:
    return sorted(e.receipt.tile for e in events if isinstance(e, TileDone))


def workers(events: list[Event]) -> set[str]:
    """Return who has done tiles."""
    return {e.receipt.worker for e in events if isinstance(e, TileDone)}


def test_every_tile_is_done_by_other_processes(runner: Runner) -> None:
    events = run(runner, Trivial(), 60)
    assert done(events) == list(range(60))
    assert len(workers(events)) == 2
    assert sum(e.windows for e in events if isinstance(e, WindowsDone)) == 120


def test_of_two_poisoned_tiles_among_300_less_memory_helps_one_and_no_other_is_lost(
    runner: Runner, tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    events: list[Event] = []
    smaller = Poisoned(str(tmp_path / "alone"), tiles=(150,))
    runner.run(units(Poisoned(str(tmp_path), tiles=(30, 150)), 300, events.append, smaller))
    assert done(events) == [i for i in range(300) if i != 150]
    (lost,) = [e for e in events if isinstance(e, TileLost)]
    assert lost.tile == 150
    assert "died" in lost.reason
    assert (tmp_path / "alone" / "30-0").exists()


def test_tiles_whose_workers_die_by_chance_are_done_after_all(
    runner: Runner, tmp_path: Path
) -> None:
    events = run(runner, Poisoned(str(tmp_path), tiles=(0, 20, 40), times=1), 60)
    assert done(events) == list(range(60))


def test_workers_that_are_told_to_go_are_not_killed_by_their_tile(
    runner: Runner, tmp_path: Path
) -> None:
    """As batch systems do it, three times in the same tile."""
    (tmp_path / "alone").mkdir()
    events: list[Event] = []
    task = Preempted(str(tmp_path), tile=3, times=3)
    runner.run(units(task, 9, events.append, smaller=Trivial(str(tmp_path / "alone"))))
    assert done(events) == list(range(9))
    assert (tmp_path / "3-3").exists()
    assert not list((tmp_path / "alone").iterdir())  # it was never isolated


@contextmanager
def started(address: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker as clusters do."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    with subprocess.Popen(
        [*command, "--memory-limit", "0", "--no-dashboard", *options],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_walltimes_and_cancelled_jobs_lose_nothing(tmp_path: Path) -> None:
    """One worker has a short life and starts anew, the other is cancelled in the middle."""
    (tmp_path / "alone").mkdir()
    events: list[Event] = []
    task = Preempted(str(tmp_path), tile=-1, seconds=0.5)
    many = units(task, 400, events.append, smaller=Trivial(str(tmp_path / "alone")))
    settings = {"distributed.scheduler.allowed-failures": 0}
    with dask.config.set(settings), LocalCluster(0, dashboard_address=None) as cluster:
        address = str(cluster.scheduler_address)
        with (
            started(address, "--lifetime", "8s", "--lifetime-restart"),
            started(address) as doomed,
            running_cluster(address, lambda line: None) as runner,
            ThreadPoolExecutor(1) as thread,
        ):
            until_anew = takewhile(lambda unit: len(workers(events)) < 3, many)
            running = thread.submit(runner.run, until_anew)
            while len(workers(events)) < 2:
                time.sleep(0.1)
            os.killpg(doomed.pid, signal.SIGTERM)  # SLURM tells every process of a job
            running.result(120)
    assert len(workers(events)) >= 3
    found = done(events)
    assert found == list(range(len(found)))
    assert not list((tmp_path / "alone").iterdir())


def test_a_straggler_does_not_hold_up_the_run(runner: Runner, tmp_path: Path) -> None:
    events = run(runner, Slow(str(tmp_path), tile=3), 30)
    assert done(events) == list(range(30))
    assert (tmp_path / "3-1").exists()  # a second copy


def test_a_tiles_own_error_loses_only_it(runner: Runner) -> None:
    events = run(runner, Faulty(tile=4), 20)
    assert done(events) == [i for i in range(20) if i != 4]
    (lost,) = [e for e in events if isinstance(e, TileLost)]
    assert lost == TileLost(4, "ValueError: cosmic ray")


def test_an_error_of_the_run_comes_home_as_it_is(runner: Runner) -> None:
    events = run(runner, Faulty(tile=4, run=True), 20)
    (stopped,) = [e for e in events if isinstance(e, RunStopped)]
    assert isinstance(stopped.error, DamagedInput)
    assert str(stopped.error) == "the scene is cut short"


def test_workers_without_the_task_say_what_they_need(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unknown(Trivial):
        pass

    Unknown.__module__, Unknown.__qualname__ = "only_here", "Unknown"
    module = type(sys)("only_here")
    module.Unknown = Unknown
    monkeypatch.setitem(sys.modules, "only_here", module)
    events = run(runner, Unknown(), 1)
    (stopped,) = [e for e in events if isinstance(e, RunStopped)]
    assert isinstance(stopped.error, ClusterFailed)
    assert "only_here" in str(stopped.error)


def test_a_scheduler_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clusters, "_PATIENCE", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, and says nothing
        nobody = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        for address, said in (
            (nobody, "no Dask scheduler answers there"),
            ("tcp://127.0.0.1:9", "cannot be reached"),
            ("ws://127.0.0.1:9", "has no address like"),
            ("", "has no address like"),
        ):
            with (
                pytest.raises(ConfigError, match=said),
                running_cluster(address, lambda line: None),
            ):
                pass


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("jobqueue", {}, "not known"),
        ("../slurm", {}, "not known"),
        ("pbs", {}, "'qsub' is not on this machine"),
    ],
)
def test_batch_systems_that_cannot_be_asked(kind: str, settings: dict[str, Any], said: str) -> None:
    pytest.importorskip("dask_jobqueue")
    usual = {"cores": 1, "memory": "1GB", **settings}
    with (
        pytest.raises(ConfigError, match=said),
        batch_system(kind, 1, usual, lambda line: None),
    ):
        pass


#: The first job is taken in, and never starts; the others are not.
FULL = """#!/bin/sh
mkdir "$(dirname "$0")/taken" 2>/dev/null && echo "Submitted batch job 17" && exit
echo "sbatch: error: you have too many jobs" >&2
exit 1
"""


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A batch system without an account for anybody; each test may write it anew."""
    pytest.importorskip("dask_jobqueue")
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'sbatch: error: invalid account' >&2\nexit 1\n")
    program.chmod(0o755)
    (program.parent / "scancel").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return program


def test_jobs_that_are_refused_are_one_sentence(
    sbatch: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    cluster, image = tmp_path / "cluster.yaml", tmp_path / "scene.png"
    cluster.write_text("{kind: slurm, jobs: 3, cores: 1, memory: 1GB}")
    Image.new("RGB", (99, 70)).save(image)
    command = [
        *(sys.executable, "-m", "tiledseg", "segment", image, "-m", make_model()),
        *("-o", tmp_path / "map.tif", "--cluster", cluster, "--runtime", "torch", "-q"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "no job could be submitted with sbatch: sbatch: error: invalid account" in line
    assert not (tmp_path / "map.tif").exists()


def test_a_job_that_was_taken_in_is_waited_for(sbatch: Path) -> None:
    sbatch.write_text(FULL)
    said: list[str] = []
    settings = {"cores": 1, "memory": "1GB"}
    with ThreadPoolExecutor(1) as thread:
        with batch_system("slurm", 2, settings, said.append) as runner:
            running = thread.submit(run, runner, Trivial(), 1)
            with pytest.raises(TimeoutError):
                running.result(6)
        with pytest.raises(ClusterFailed, match=r"the scheduler at .* is lost"):
            running.result(20)


def test_the_users_own_dask_is_left_alone(runner: Runner) -> None:
    """Arrays that are computed beside a run do not go to its workers."""
    import dask.array

    assert dask.config.get("scheduler", None) is None
    assert int(dask.array.ones(5).sum().compute()) == 5
