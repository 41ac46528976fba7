"""A real SLURM of two nodes on this machine, for tests marked ``slurm``."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """Start SLURM and return its folder; skips where it is not installed or not allowed."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=places) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client")
    if os.geteuid() != 0:
        pytest.skip("starting a SLURM needs root")
    # Under /tmp: munge refuses folders that others may change, and must be let into them.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("PATH", places)
        patch.setenv("SLURM_CONF", str(_configure(folder)))
        stack.enter_context(_munge(folder / "munge"))
        stack.enter_context(_daemon("slurmctld", "-D", log=folder / "out.log"))
        for node in ("n1", "n2"):
            stack.enter_context(_daemon("slurmd", "-D", "-N", node, log=folder / "out.log"))
        _wait(lambda: asked("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 2, folder)
        stack.callback(_end_jobs, folder)
        yield folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder to work in, with this Python's programs first in the path."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make_configs(place: Path, make_model: Callable[..., Path]) -> Callable[..., list[Path]]:
    """Return a function that writes a scene, and configs that differ in the output's name."""

    def make(size: int, *names: str) -> list[Path]:
        _write_scene(place / "scene.tif", size)
        return [_write_config(place, name, make_model(), 128) for name in names]

    return make


def _write_scene(path: Path, size: int) -> None:
    """Write three bands of blocky noise with a nodata corner."""
    pixels = np.random.default_rng(0).integers(1, 250, (3, size // 4, size // 4), np.uint8)
    pixels = pixels.repeat(4, 1).repeat(4, 2)
    pixels[:, :60, :70] = 0
    spec = SinkSpec(Grid.local((size, size)), np.dtype(np.uint8), ("c0", "c1", "c2"), 0)
    sink = create_sink(path, spec)
    sink.prepare()
    sink.write(spec.grid.box, pixels)
    sink.commit()


def _write_config(folder: Path, name: str, model: Path, core: int) -> Path:
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


def asked(*command: str) -> str:
    """Return what a command prints, also where it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _configure(folder: Path) -> Path:
    folder.chmod(0o755)
    (folder / "state").mkdir()
    text = Path(__file__).with_name("slurm.conf").read_text()
    with ExitStack() as stack:
        for i in range(3):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            text = text.replace(f"@PORT{i}@", str(free.getsockname()[1]))
    host = socket.gethostname().partition(".")[0]
    path = folder / "slurm.conf"
    path.write_text(text.replace("@DIR@", str(folder)).replace("@HOST@", host))
    return path


@contextmanager
def _munge(folder: Path) -> Iterator[None]:
    """Run munge, which vouches for users, with a key and a socket of its own."""
    folder.mkdir()
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    for path in (folder, key):
        shutil.chown(path, "munge", "munge")
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    log = folder.with_name("munge.log")
    with _daemon("munged", "-F", *options, log=log, user="munge", group="munge"):
        _wait((folder / "socket").exists, folder.parent)
        yield


@contextmanager
def _daemon(*command: str, log: Path, **more: str) -> Iterator[None]:
    with log.open("a") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, **more
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait(reached: Callable[[], bool], folder: Path) -> None:
    until = time.monotonic() + 60
    while not reached():
        if time.monotonic() > until:
            logs = [log.read_text()[-1500:] for log in sorted(folder.glob("*.log"))]
            pytest.fail("SLURM did not start or end:\n" + "\n".join(logs))
        time.sleep(0.1)


def _end_jobs(folder: Path) -> None:
    subprocess.run(["scancel", "--user=root"], check=False)
    _wait(lambda: not asked("squeue", "-h"), folder)
