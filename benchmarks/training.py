"""``python -m benchmarks.training``: memory of a training, by the extent of its scene.

Scenes are sparse GeoTIFFs, of which every 16th block of 512 x 512 holds noise and labels. Each is
trained on, for a few steps, in a process of its own; prints a markdown table of peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

_BLOCK = 512
_TRAIN = """
import json, sys
from pathlib import Path
import tiledseg
from tiledseg.engine import machine
made = tiledseg.train(json.loads(sys.argv[1]), Path(sys.argv[2]), fresh=True, threads=2)
print(json.dumps({"peak": machine.peak(), "seconds": made.numbers.seconds}))
"""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 30000])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--work", type=Path, default=Path("bench.work"))
    options = parser.parse_args()
    print("| scene | peak memory, GB | start, census and end, s | steps, s |\n|---|---|---|---|")
    for size in options.sizes:
        folder = options.work / f"training-{size}"
        dataset = write_scene(folder, size)
        began = time.perf_counter()
        told = measure(recipe(dataset, options.steps), folder / "model")
        rest = time.perf_counter() - began - told["seconds"]
        cells = f"{told['peak'] / 1e9:.2f} | {rest:.0f} | {told['seconds']:.0f}"
        print(f"| {size} x {size} | {cells} |", flush=True)


def recipe(dataset: Path, steps: int) -> dict[str, Any]:
    """Return the recipe of a small network."""
    return {
        "data": {"dataset": str(dataset)},
        "network": {"architecture": {"name": "unet", "channels": [16, 32], "strides": [2]}},
        "patches": {"window": [256, 256], "batch": 4, "cache": "200MB"},
        "run": {"steps": steps, "precision": "fp32"},
    }


def measure(settings: dict[str, Any], out: Path) -> dict[str, Any]:
    """Train in a process of its own; return its peak memory in bytes, and seconds of steps."""
    command = [sys.executable, "-c", _TRAIN, json.dumps(settings), str(out)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def write_scene(folder: Path, size: int) -> Path:
    """Write a sparse scene with labels; return the dataset's file."""
    folder.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": 1,
        "dtype": "uint8",
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "sparse_ok": True,
        "crs": "EPSG:32633",
        "bigtiff": "yes",
        "transform": rasterio.Affine(1, 0, 500000, 0, -1, 4000000),
    }
    rng = np.random.default_rng(0)
    with (
        rasterio.open(folder / "scene.tif", "w", **profile) as image,
        rasterio.open(folder / "labels.tif", "w", **profile) as labels,
    ):
        for row in range(0, size - _BLOCK, 4 * _BLOCK):
            for column in range(0, size - _BLOCK, 4 * _BLOCK):
                window = Window(column, row, _BLOCK, _BLOCK)
                truth = 1 + (rng.integers(0, 255, (8, 8)) % 2).astype(np.uint8)
                truth = np.kron(truth, np.ones((_BLOCK // 8, _BLOCK // 8), np.uint8))
                noise = rng.integers(0, 80, truth.shape, dtype=np.uint8)
                image.write(80 * truth + noise, 1, window=window)
                labels.write(truth, 1, window=window)
    text = "classes: [dark, bright]\nlegend: {1: dark, 2: bright}\nignore: [0]\n"
    path = folder / "dataset.yaml"
    path.write_text(text + "cases:\n  - {image: scene.tif, labels: labels.tif}\n")
    return path


if __name__ == "__main__":
    main()
