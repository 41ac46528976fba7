"""What tests of whole runs share."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiledseg import cli
from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink

#: Where processes come from that begin with what a run imports, which takes seconds.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["tests.runs", "tiledseg.pipeline", "tiledseg.training", "tiledseg.models._monai"]
)


def started(arguments: list[str], told: Path | None = None) -> ForkServerProcess:
    """Run a command line in a process that can be killed; what it prints goes to ``told``."""
    return _forked(_command, arguments, told)


def started_script(script: Path, arguments: list[str], told: Path) -> ForkServerProcess:
    """Run a file of Python in a process that can be killed; what it prints goes to ``told``."""
    return _forked(_script, [str(script), *arguments], told)


def _forked(
    does: Callable[[list[str]], None], arguments: list[str], told: Path | None
) -> ForkServerProcess:
    process = _SERVER.Process(target=_begin, args=(does, arguments, dict(os.environ), told))
    process.start()
    return process


def _begin(
    does: Callable[[list[str]], None],
    arguments: list[str],
    environment: Mapping[str, str],
    told: Path | None,
) -> None:
    os.environ.update(environment)  # those of the server are of the time when it began
    if told is not None:
        with told.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    does(arguments)


def _command(arguments: list[str]) -> None:
    sys.exit(cli.run(arguments))


def _script(arguments: list[str]) -> None:
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


def sha(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_pixels(path: Path, pixels: np.ndarray) -> Path:
    """Write (3, y, x) as a GeoTIFF without a place, whose nodata is 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = SinkSpec(Grid.local(pixels.shape[1:]), pixels.dtype, ("c0", "c1", "c2"), 0)
    sink = create_sink(path, spec)
    sink.prepare()
    sink.write(spec.grid.box, pixels)
    sink.commit()
    return path


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return blocky noise, (3, *shape), 1 to 249."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 250, (3, shape[0] // 4 + 1, shape[1] // 4 + 1), np.uint8)
    return pixels.repeat(4, 1).repeat(4, 2)[:, : shape[0], : shape[1]].copy()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of ``size``, where that is allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def strike(patch: pytest.MonkeyPatch, model: type[Any], call: int) -> list[int]:
    """Make one call of a kind of models fail, counted from 1; return the count, to be set back."""
    healthy, calls = model.__call__, [0]

    def sick(self: Any, x: object) -> object:
        calls[0] += 1
        if calls[0] == call:
            raise RuntimeError("cosmic ray")
        return healthy(self, x)

    patch.setattr(model, "__call__", sick)
    return calls
