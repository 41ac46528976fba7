"""The examples for SLURM on a real one, of two nodes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tiledseg import cli

MakeConfigs = Callable[..., list[Path]]
EXAMPLES = Path(__file__).parents[2] / "examples" / "clusters"
#: One job on each of the two nodes.
ALONE = ("--cpus-per-task=1", "--mem=1500M", "--exclusive")
pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def sha(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*command: object) -> str:
    """Run a command to its end and return what it prints."""
    return subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def jobs(*options: str) -> list[str]:
    """Return the numbers of jobs that wait or run."""
    return run("squeue", "--noheader", "--format=%i", *options).split()


def until(reached: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.1)


def logs(folder: Path) -> str:
    """Return what jobs said."""
    return "\n".join(f"{p.name}: {p.read_text()[-2000:]}" for p in sorted(folder.rglob("*.log")))


def test_array_jobs_share_the_tiles(slurm: Path, place: Path, make_configs: MakeConfigs) -> None:
    serial, shared = make_configs(600, "serial", "shared")
    assert cli.run(["run", str(serial), "--quiet"]) == 0
    run(EXAMPLES / "slurm_array_submit.sh", shared, 2, *ALONE)
    until(lambda: not jobs())
    assert (place / "shared.tif").exists(), logs(place)
    assert sha(place / "shared.tif") == sha(place / "serial.tif")
    shards = [path.read_text() for path in sorted(place.glob("tiledseg-[0-9]*_?.log"))]
    assert ["shard 1/2: 13 tiles" in shards[0], "shard 2/2: 12 tiles" in shards[1]] == [True] * 2
    report = json.loads((place / "shared.report" / "report.json").read_text())
    assert report["ran"]["tiles_resumed"] == 25, "the last job computed tiles of others"
    told = run("scontrol", "--oneliner", "show", "jobs").splitlines()
    places = {re.findall(r" NodeList=(\w+)", job)[0] for job in told if "ArrayTaskId" in job}
    assert places == {"n1", "n2"}


def test_cancelled_jobs_are_replaced(slurm: Path, place: Path, make_configs: MakeConfigs) -> None:
    """Two jobs of Dask workers, cancelled in mid-run one after the other."""
    pytest.importorskip("dask_jobqueue")
    serial, spread = make_configs(1100, "serial", "spread")
    cluster = yaml.safe_load((EXAMPLES / "slurm_dask.yaml").read_text())
    cluster |= {"jobs": 2, "cores": 1, "memory": "1500MB"}
    cluster["job_extra_directives"].append("--exclusive")
    (place / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    assert cli.run(["run", str(serial), "--quiet"]) == 0
    whole = place / "spread.tif"
    receipts = whole.with_name("spread.tif.work") / "receipts"
    command = [EXAMPLES / "slurm_dask.sh", spread, "cluster.yaml"]
    driver = subprocess.Popen(command)
    try:
        until(lambda: len(list(receipts.glob("*.json"))) >= 10)
        first = jobs("--states=running")
        assert sorted(run("squeue", "--noheader", "--format=%N").split()) == ["n1", "n2"]
        run("scancel", first[0])
        done = len(list(receipts.glob("*.json")))
        until(lambda: len(list(receipts.glob("*.json"))) >= done + 10)  # the other goes on
        run("scancel", first[1])
        assert driver.poll() is None, "the run ended before its jobs could be cancelled"
        assert driver.wait(120) == 0, logs(place)  # others came in their place
    finally:
        driver.kill()
        driver.wait()
    assert sha(whole) == sha(place / "serial.tif")
    until(lambda: not jobs())
