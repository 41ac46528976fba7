"""The same promises on a CUDA device; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiledseg

MakeModel = Callable[..., Path]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Return a scene (3, 640, 700) of blocks."""
    values = np.random.default_rng(5).integers(0, 255, (3, 80, 88), np.uint8)
    return values.repeat(8, 1).repeat(8, 2)[:, :640, :700]


def segment(image: np.ndarray, model: Path, core: tuple[int, int], **runtime: Any) -> Any:
    return tiledseg.segment(
        image,
        model,
        tiling={"window": [128, 128], "stride": [96, 96], "core": core},
        runtime={"device": "cuda", "runtime": "torch", **runtime},
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_same_bytes_for_every_core_and_worker(
    image: np.ndarray, make_model: MakeModel, precision: str
) -> None:
    maps = [
        segment(image, make_model(), core, precision=precision, workers=workers).array
        for core, workers in (((640, 700), 1), ((160, 224), 1), ((96, 700), 2))
    ]
    for other in maps[1:]:
        np.testing.assert_array_equal(other, maps[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_class_map_is_the_cpus(
    image: np.ndarray, make_model: MakeModel, precision: str
) -> None:
    on_cpu = segment(image, make_model(), (640, 700), device="cpu").array
    on_gpu = segment(image, make_model(), (640, 700), precision=precision).array
    least = 0.9999 if precision == "fp32" else 0.98  # random weights: near ties are common
    assert (on_cpu == on_gpu).mean() >= least


def test_the_device_budget_is_kept(image: np.ndarray, make_model: MakeModel) -> None:
    """Many classes and a wide scene: the whole plane would not fit."""
    settings: dict[str, Any] = {
        "tiling": {"window": [128, 128], "stride": [96, 96]},
        "runtime": {"device": "cuda", "runtime": "torch"},
        "budget": {"device_memory": "400MB"},
    }
    wide, model = image.repeat(2, 1).repeat(12, 2), make_model(classes=60)
    with tiledseg.plan(wide, model, **settings) as job:
        assert job.plan.core[1] < wide.shape[2]
    torch.cuda.reset_peak_memory_stats()
    tiledseg.segment(wide, model, **settings)
    assert torch.cuda.max_memory_allocated() <= 400_000_000
