"""The examples for SLURM on a real one, of two nodes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink

MakeModel = Callable[..., Path]
EXAMPLES = Path(__file__).parents[2] / "examples" / "clusters"
#: Small jobs: four at a time on the two nodes.
SMALL = ("--cpus-per-task=1", "--mem=1500M")
pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture
def place(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder to submit from, with this Python's programs first in the path."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_scene(path: Path, size: int) -> None:
    """Write three bands of blocky noise with a nodata corner."""
    pixels = np.random.default_rng(0).integers(1, 250, (3, size // 4, size // 4), np.uint8)
    pixels = pixels.repeat(4, 1).repeat(4, 2)
    pixels[:, :60, :70] = 0
    spec = SinkSpec(Grid.local((size, size)), np.dtype(np.uint8), ("c0", "c1", "c2"), 0)
    sink = create_sink(path, spec)
    sink.prepare()
    sink.write(spec.grid.box, pixels)
    sink.commit()


def write_config(folder: Path, name: str, model: Path, core: int) -> Path:
    """Write a config whose output is called ``name``."""
    path = folder / f"{name}.yaml"
    values = {
        "image": str(folder / "scene.tif"),
        "model": str(model),
        "out": str(folder / f"{name}.tif"),
        "tiling": {"core": [core, core]},
        "runtime": {"runtime": "torch", "threads": 1},
    }
    path.write_text(yaml.safe_dump(values))
    return path


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


def test_array_jobs_share_the_tiles(place: Path, make_model: MakeModel) -> None:
    write_scene(place / "scene.tif", 600)
    serial, shared = (write_config(place, n, make_model(), 128) for n in ("serial", "shared"))
    run("tiledseg", "run", serial, "--quiet")
    run(EXAMPLES / "slurm_array_submit.sh", shared, 2, *SMALL)
    until(lambda: not jobs())
    assert (place / "shared.tif").exists(), logs(place)
    assert sha(place / "shared.tif") == sha(place / "serial.tif")
    assert {p.name.partition("-")[0] for p in place.glob("*.log")} == {"tiledseg"}


def test_a_cancelled_job_is_replaced(place: Path, make_model: MakeModel) -> None:
    """Two jobs of Dask workers, one cancelled in mid-run."""
    write_scene(place / "scene.tif", 2400)
    serial, spread = (write_config(place, n, make_model(), 128) for n in ("serial", "spread"))
    cluster = yaml.safe_load((EXAMPLES / "slurm_dask.yaml").read_text())
    cluster |= {"jobs": 2, "cores": 1, "memory": "1500MB"}
    (place / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    run("tiledseg", "run", serial, "--quiet")
    whole = place / "spread.tif"
    receipts = whole.with_name("spread.tif.work") / "receipts"
    command = ["tiledseg", "run", str(spread), "--cluster", "cluster.yaml", "--quiet"]
    driver = subprocess.Popen(command)
    try:
        until(lambda: len(list(receipts.glob("*.json"))) >= 20)
        first = jobs("--states=running")
        assert len(first) == 2
        run("scancel", first[0])
        assert not whole.exists(), "the run ended before a job could be cancelled"
        until(lambda: bool(set(jobs()) - set(first)) or driver.poll() is not None)
        assert driver.poll() is None, "no job came in place of the cancelled one"
        assert driver.wait(120) == 0
    finally:
        driver.kill()
        driver.wait()
    assert sha(whole) == sha(place / "serial.tif")
    until(lambda: not jobs())
