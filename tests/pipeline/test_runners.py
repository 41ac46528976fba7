"""What the workers of a run may use, and clusters that are described wrongly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiledseg.config import RunConfig
from tiledseg.errors import ConfigError
from tiledseg.pipeline._runners import ClusterSpec, memory_of, threads_of, workers_of

GOOD = "kind: slurm\njobs: 3\ncores: 4\nprocesses: 2\nmemory: 10GB\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(GOOD)
    return path


def layer(name: str, inner: str) -> str:
    """Return a line of YAML that stands for nine times another."""
    return f"{name}: &{name} [{', '.join([f'*{inner}'] * 9)}]\n"


def config(**runtime: object) -> RunConfig:
    return RunConfig.parse({"image": "a.tif", "model": "m", "runtime": runtime})


def test_a_process_gets_its_share_of_a_job(cluster: Path) -> None:
    told = config(cluster=str(cluster))
    assert threads_of(told) == 2
    assert memory_of(told) == 4_500_000_000
    assert workers_of(told) == 6


def test_workers_of_this_machine_share_it() -> None:
    free = memory_of(config())
    shared = memory_of(config(runner="dask", workers=4))
    assert shared < free
    assert threads_of(config(runner="dask", workers=4)) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "- slurm",
        "kind: slurm",
        GOOD.replace("jobs: 3", "jobs: 0"),
        GOOD.replace("jobs: 3", "jobs: 100000"),
        GOOD.replace("jobs: 3", "jobs: true and more"),
        GOOD.replace("processes: 2", "processes: abc"),
        GOOD.replace("processes: 2", "processes: [1]"),
        GOOD.replace("cores: 4", "cores: 2.5"),
        GOOD.replace("processes: 2", "processes: 0"),
        GOOD.replace("jobs: 3", "jobs: true"),
        GOOD + "worker_extra_args: --nthreads 2\n",
        GOOD + "worker_extra_args: [5]\n",
        GOOD.replace("kind: slurm", "kind: [slurm]"),
        "a: &a [1]\n" + "".join(map(layer, "bcdefghi", "abcdefgh")),
        "[" * 3000,
        "kind: slurm\nwhen: 2024-99-99",
    ],
    ids=range(16),
)
def test_a_cluster_that_is_none_is_one_sentence(cluster: Path, text: str) -> None:
    cluster.write_text(text)
    with pytest.raises(ConfigError, match=r"cluster\.yaml") as raised:
        ClusterSpec.read(str(cluster))
    assert len(str(raised.value)) < 500


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "none", tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match=r"cluster .* cannot be read|there is no cluster"):
            ClusterSpec.read(str(place))
