"""MONAI's sliding window on whole arrays: same taper, same starts, same scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import tiledseg
from tiledseg.models import load_model
from tiledseg.taper import Taper, profile

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.inferers import sliding_window_inference


@pytest.mark.parametrize("taper", list(Taper))
@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((150, 133), (64, 64), (48, 48)),
        ((64, 200), (64, 32), (32, 16)),
        ((40, 50), (64, 64), (48, 48)),
    ],
    ids=["odd", "one row", "smaller than a window"],
)
def test_scores_equal_monai(
    tmp_path: Path,
    make_model: Callable[..., Path],
    taper: Taper,
    shape: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
) -> None:
    folder = make_model()
    pixels = np.random.default_rng(1).integers(0, 255, (3, *shape)).astype(np.float32)
    model = load_model(folder)
    values = model.card.normalization(pixels, np.ones(shape, bool))
    weights = np.outer(*(profile(taper, w) for w in window)).astype(np.float32)
    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(values)[None],
            window,
            1,
            lambda x: torch.softmax(model(x), 1),
            overlap=tuple(1 - s / w for s, w in zip(stride, window, strict=True)),
            roi_weight_map=torch.from_numpy(weights),
        )[0].numpy()
    tiling = {
        "window": window,
        "stride": stride,
        "margin": 0,
        "taper": taper,
        "lattice": "clamped",
        "padding": "zero",
    }
    out = tmp_path / "map.zarr"
    scores = tmp_path / "scores.zarr"
    result = tiledseg.segment(
        pixels,
        folder,
        out,
        tiling=tiling,
        output={"scores": str(scores), "score_type": "float32", "report": False},
    )
    assert result.outputs == (out, scores)
    with tiledseg.open_source(scores) as source:
        found = source.read(source.grid.box)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with tiledseg.open_source(out) as source:
        labels = source.read(source.grid.box)[0]
    top = np.sort(expected, axis=0)
    clear = top[-1] - top[-2] > 1e-5
    np.testing.assert_array_equal(labels[clear], expected.argmax(0)[clear])
