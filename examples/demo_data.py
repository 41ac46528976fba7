"""Write what the demo's two models learn from: made scenes and phantoms, with their truth.

    python examples/demo_data.py demo-data
    tiledseg train examples/demo-scene.yaml --out demo-scene
    tiledseg train examples/demo-organs.yaml --out demo-organs

They are made from seeds that the demo never uses. 0.4 GB; a minute and a half on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tiledseg.demo import CHANNELS, COVERS, ORGANS, TRAINING_SEEDS, make_phantom, make_scene
from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink

_COVER_COLORS = ("2962c8", "1b5e20", "dec846", "8bc34a", "c62828", "a17954")
_ORGAN_COLORS = ("000000", "64a0e6", "b24030", "e8b440", "8c46a0", "f0ecd6", "dc2828")
#: Label of samples that were not measured.
_NONE = 255


def write_scenes(folder: Path, count: int, size: int) -> None:
    """Write scenes of four bands (GeoTIFF), their land cover, and ``dataset.yaml``."""
    for seed in TRAINING_SEEDS[:count]:
        made = make_scene(seed, size)
        truth = np.where(made.valid, made.truth, _NONE)
        _write(folder / f"image_{seed}.tif", made.image, made.grid, CHANNELS, 0)
        _write(folder / f"truth_{seed}.tif", truth[None], made.grid, ("truth",), _NONE)
    _describe(folder, ".tif", "image", {"classes": _classes(COVERS, _COVER_COLORS)})


def write_phantoms(folder: Path, count: int, shape: tuple[int, int, int]) -> None:
    """Write CT-like volumes (NIfTI), their organs, and ``dataset.yaml``."""
    for seed in TRAINING_SEEDS[:count]:
        made = make_phantom(seed, shape)
        _write(folder / f"image_{seed}.nii.gz", made.image[None], made.grid, ("CT",), None)
        _write(folder / f"truth_{seed}.nii.gz", made.truth[None], made.grid, ("truth",), None)
    told = {"classes": _classes(ORGANS, _ORGAN_COLORS), "background": ORGANS[0]}
    _describe(folder, ".nii.gz", "ct", told)


def _write(
    path: Path, values: np.ndarray, grid: Grid, channels: tuple[str, ...], nodata: float | None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sink = create_sink(path, SinkSpec(grid, values.dtype, channels, nodata))
    sink.prepare()
    sink.write(grid.box, values)
    sink.commit()


def _classes(names: tuple[str, ...], colors: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {"name": name, "color": list(bytes.fromhex(color))}
        for name, color in zip(names, colors, strict=True)
    ]


def _describe(folder: Path, suffix: str, modality: str, classes: dict[str, Any]) -> None:
    told = {
        "name": f"demo-{folder.name}",
        "licence": "Apache-2.0",
        "cases": {"images": f"image_{{name}}{suffix}", "labels": f"truth_{{name}}{suffix}"},
        "modality": modality,
        **classes,
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(told, sort_keys=False))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_scenes(target / "scenes", 40, 768)
    write_phantoms(target / "organs", 40, (96, 160, 192))
