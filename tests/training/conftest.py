"""Small problems to train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

NAMES = ("ground", "road", "water")
#: What every recipe here has: a network of some hundred weights.
TINY: dict[str, Any] = {"name": "unet", "channels": [4, 8], "strides": [2], "norm": "batch"}


def blobs(rng: np.random.Generator, size: tuple[int, int], classes: int) -> np.ndarray:
    """Return labels (y, x) in patches of about 12 samples."""
    coarse = rng.integers(0, classes, (size[0] // 12 + 1, size[1] // 12 + 1))
    return np.kron(coarse, np.ones((12, 12), np.uint8))[: size[0], : size[1]].astype(np.uint8)


def write_scene(path: Path, image: np.ndarray) -> None:
    """Write (bands, y, x) as GeoTIFF, 2 m per sample."""
    profile = {
        "driver": "GTiff",
        "count": len(image),
        "height": image.shape[1],
        "width": image.shape[2],
        "dtype": image.dtype,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(2, 0, 500000, 0, -2, 4000000),
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(image)


def write_dataset(
    folder: Path, cases: int = 4, size: tuple[int, int] = (70, 90), **more: Any
) -> Path:
    """Write scenes whose bands tell the class, and their labels; return the dataset's file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    listed = []
    for number in range(cases):
        labels = blobs(rng, size, len(NAMES))
        means = np.array([[60, 90], [150, 60], [100, 170]])[labels].transpose(2, 0, 1)
        image = np.clip(means + rng.normal(0, 25, means.shape), 0, 255).astype(np.uint8)
        labels[rng.random(labels.shape) < 0.05] = 200
        write_scene(folder / f"scene_{number}.tif", image)
        write_scene(folder / f"labels_{number}.tif", labels[None])
        listed.append({"image": f"scene_{number}.tif", "labels": f"labels_{number}.tif"})
    values = {"classes": list(NAMES), "ignore": [200], "cases": listed, **more}
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a dataset of four scenes of three classes."""
    return write_dataset(tmp_path_factory.mktemp("scenes"), licence="CC0")


@pytest.fixture
def values(scenes: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that makes the values of a recipe: sections, changed as asked."""

    def make(**sections: dict[str, Any]) -> dict[str, Any]:
        base: dict[str, Any] = {
            "data": {"dataset": str(scenes), "folds": 4},
            "network": {"architecture": TINY},
            "patches": {"window": [32, 32], "batch": 2, "readers": 2},
            "optimizer": {"rate": 0.02},
            "run": {"steps": 12, "precision": "fp32", "checkpoint": 3},
        }
        for name, section in sections.items():
            base[name] = {**base.get(name, {}), **section}
        return base

    return make
