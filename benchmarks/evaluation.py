"""Measuring a gigapixel pair: memory and time of `tiledseg evaluate`, in a process of its own.

    python -m benchmarks.evaluation --work /tmp/bench --size 32768

Both rasters are made of one square of patches that is repeated, so they are small on disk, and the
accuracy is known beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window

_SQUARE = 512
#: Reports the process' own largest resident set (ru_maxrss would be at least that of its parent).
_CODE = """
import json, sys
from tiledseg.cli import run
status = run(sys.argv[1:])
from tiledseg.engine import machine
print(json.dumps({"status": status, "peak": machine.peak()}))
"""


def measure_pair(work: Path, size: int, *more: str) -> dict[str, Any]:
    """Make a pair of ``size`` x ``size`` samples, evaluate it, and return what was seen.

    Args:
        work: Folder for the rasters.
        size: Samples per axis, a multiple of 512.
        more: Further options of the command.
    """
    truth, found = _squares()
    maps = [
        _write(work / name, square, size)
        for name, square in (("truth.tif", truth), ("map.tif", found))
    ]
    command = [sys.executable, "-c", _CODE, "evaluate", str(maps[1]), "--truth", str(maps[0])]
    began = time.monotonic()
    ended = subprocess.run(
        [*command, "--json", "-q", *more],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    seconds = time.monotonic() - began
    told, process = (json.loads(line) for line in ended.stdout.splitlines())
    return {
        "samples": told["ran"]["samples"],
        "accuracy": told["overall"]["accuracy"],
        "expected_accuracy": float((truth == found).mean()),
        "seconds": round(seconds, 1),
        "peak": process["peak"],
    }


def _squares() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return patches of five classes, and the same shifted by three samples with some noise."""
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 5, (16, 16)), np.ones((32, 32), int)).astype(np.uint8)
    found = np.roll(truth, 3, axis=1)
    found = np.where(rng.random(truth.shape) < 0.01, rng.integers(0, 5, truth.shape), found)
    return truth, found.astype(np.uint8)


def _write(path: Path, square: NDArray[np.uint8], size: int) -> Path:
    profile = {
        "driver": "GTiff",
        "height": size,
        "width": size,
        "count": 1,
        "dtype": "uint8",
        "tiled": True,
        "blockxsize": _SQUARE,
        "blockysize": _SQUARE,
        "compress": "deflate",
        "crs": "EPSG:32633",
        "transform": Affine(0.3, 0, 5e5, 0, -0.3, 5.4e6),
        "nodata": 255,
    }
    row = np.tile(square, (1, size // _SQUARE))
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, size, _SQUARE):
            file.write(row, 1, window=Window(0, top, size, _SQUARE))
    return path


def main() -> None:
    """Measure, and print a row for benchmarks/RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=32768)
    options, more = parser.parse_known_args()
    options.work.mkdir(parents=True, exist_ok=True)
    seen = measure_pair(options.work, options.size, *more)
    print(f"{options.size}^2: {seen['seconds']} s, {seen['peak'] / 1e6:.0f} MB, {seen}")


if __name__ == "__main__":
    main()
