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
from tiledseg.taper import Taper, profile, weight_map

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.data.utils import compute_importance_map
    from monai.inferers import sliding_window_inference


@pytest.mark.parametrize("window", [(96, 96), (33, 20, 48)])
def test_the_weights_are_monais(window: tuple[int, ...]) -> None:
    found = weight_map(Taper.MONAI, window)
    assert found is not None
    wanted = compute_importance_map(window, mode="gaussian").numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found.min() == np.float32(1e-3)


@pytest.mark.parametrize("blend", ["scores", "logits"])
@pytest.mark.parametrize("taper", [taper for taper in Taper if taper is not Taper.NNUNET])
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
    blend: str,
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
    own = {"roi_weight_map": torch.from_numpy(weights)}
    logits = blend == "logits"
    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(values)[None],
            window,
            1,
            model if logits else lambda x: torch.softmax(model(x), 1),
            overlap=tuple(1 - s / w for s, w in zip(stride, window, strict=True)),
            **({"mode": "gaussian"} if taper is Taper.MONAI else own),
        )[0]
    expected = (torch.softmax(expected, 0) if logits else expected).numpy()
    tiling = {
        "window": window,
        "stride": stride,
        "margin": 0,
        "taper": taper,
        "lattice": "clamped",
        "padding": "zero",
        "blend": blend,
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
