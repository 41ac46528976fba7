"""What tests of whole runs share."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink


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
