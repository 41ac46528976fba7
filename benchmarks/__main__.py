"""``python -m benchmarks``: engine against its own pure forward pass and against MONAI.

Every figure is a ratio of times measured in turns within one run, because machines are noisy; the
smallest of three turns counts. The limit is 1.00 x the pure forward pass of the same windows.
"""

from __future__ import annotations

import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import tiledseg
from tiledseg.demo import MODELS, make_phantom, make_scene
from tiledseg.models import Model, load_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.inferers import sliding_window_inference

_TURNS = 3


def main() -> None:
    """Print one table."""
    torch.set_num_threads(2)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.processor() or platform.machine()}, 2 threads")
    print("| case | windows | pure forward s | tiledseg / pure | MONAI / pure |")
    print("|---|---|---|---|---|")
    scene = make_scene(1, 2048)
    _row("scene 2048^2, window 512, stride 384", "scene", scene.image, (512, 512), (384, 384), 1)
    volume = make_phantom(1).image[None]
    _row("volume 128x192x224, window 96, stride 48", "organs", volume, (96,) * 3, (48,) * 3, 2)


def _row(
    name: str,
    model_name: str,
    image: np.ndarray,
    window: tuple[int, ...],
    stride: tuple[int, ...],
    batch: int,
) -> None:
    model = load_model(MODELS / model_name)
    tiling = {
        "window": window,
        "stride": stride,
        "margin": 0,
        "lattice": "clamped",
        "padding": "zero",
    }
    runtime = {"threads": 2, "microbatch": batch}
    predictor = tiledseg.load_model(MODELS / model_name)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "map.zarr"
        job = tiledseg.plan(image, predictor, tiling=tiling, runtime=runtime)
        windows = job.plan.planned
        turns: dict[str, Callable[[], object]] = {
            "pure": lambda: _pure(model, image, window, windows, batch),
            "tiledseg": lambda: tiledseg.segment(
                image, predictor, out, tiling=tiling, runtime=runtime, output={"report": False}
            ),
            "monai": lambda: _monai(model, image, window, stride, batch),
        }
        best = dict.fromkeys(turns, float("inf"))
        for _ in range(_TURNS):
            for key, action in turns.items():
                began = time.perf_counter()
                action()
                best[key] = min(best[key], time.perf_counter() - began)
    pure = best["pure"]
    ratios = " | ".join(f"{best[key] / pure:.2f}" for key in ("tiledseg", "monai"))
    print(f"| {name} | {windows} | {pure:.2f} | {ratios} |")


def _values(model: Model, image: np.ndarray) -> np.ndarray:
    return model.card.normalization(image, np.ones(image.shape[1:], bool))


def _pure(
    model: Model, image: np.ndarray, window: tuple[int, ...], windows: int, batch: int
) -> None:
    """Run the model on as many windows, and do nothing else."""
    x = torch.zeros((batch, len(image), *window))
    with torch.inference_mode():
        for _ in range(-(-windows // batch)):
            model(x)


def _monai(
    model: Model,
    image: np.ndarray,
    window: tuple[int, ...],
    stride: tuple[int, ...],
    batch: int,
) -> torch.Tensor:
    """Normalise, slide, arg max: what a user of MONAI writes, in memory throughout."""
    x = torch.from_numpy(_values(model, image))[None]
    overlap = tuple(1 - s / w for s, w in zip(stride, window, strict=True))
    with torch.inference_mode():
        scores = sliding_window_inference(
            x, window, batch, lambda part: torch.softmax(model(part), 1), overlap, "gaussian"
        )
    return scores.argmax(1)


main()
