"""What a run's polygons and surfaces may take: what was planned, and what the budget has left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyogrio
import pytest

import tiledseg
from tiledseg.errors import BudgetExceeded
from tiledseg.labels import ClassSchema
from tiledseg.pipeline import _outputs, _surfaces
from tiledseg.vector import polygons_need

MakeModel = Callable[..., Path]
#: Where nothing is left.
FULL = SimpleNamespace(resident=lambda: 1 << 50)
NAMES = ClassSchema.of_names(["none", "a", "b"], background=0)


def asked(image: np.ndarray, model: Path, kind: str, target: Path) -> None:
    output = {kind: str(target), "report": False}
    tiledseg.segment(image, model, target.parent / "map.zarr", output=output)


def test_polygons(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(2, 1, 3, schema=NAMES)
    image = np.random.default_rng(3).normal(100, 60, (1, 60, 70)).astype(np.float32)
    target = tmp_path / "p.gpkg"
    with monkeypatch.context() as patch:
        patch.setattr("tiledseg.components._find.PIECE_BYTES", 1 << 40)
        with pytest.raises(BudgetExceeded, match="of the budget are left for them: raise the"):
            asked(image, model, "polygons", target)
    assert not target.exists()
    monkeypatch.setattr(_outputs, "machine", FULL)
    asked(image, model, "polygons", target)
    assert pyogrio.read_info(target, layer=target.stem)["features"] > 10


@pytest.mark.parametrize("activation", ["softmax", "none"])
@pytest.mark.parametrize("stored", ["uint8", "float32"])
def test_polygons_have_the_mean_of_scores(
    make_model: MakeModel, tmp_path: Path, activation: str, stored: str
) -> None:
    """But not of raw outputs, which may be anything; as integers they are from 0 to 1."""
    model = make_model(2, 1, 3, schema=NAMES, activation=activation)
    image = np.random.default_rng(3).normal(100, 60, (1, 60, 70)).astype(np.float32)
    target, scores = tmp_path / "p.fgb", str(tmp_path / "s.tif")
    output = {"polygons": str(target), "scores": scores, "score_type": stored, "report": False}
    tiledseg.segment(image, model, tmp_path / "map.tif", output=output)
    has = "score" in pyogrio.read_info(target)["fields"]
    assert has == (activation == "softmax" or stored == "uint8")


def test_surfaces(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(3, 1, 3, schema=NAMES)
    image = np.random.default_rng(3).normal(100, 60, (8, 9, 10)).astype(np.float32)
    target = tmp_path / "s"
    with monkeypatch.context() as patch:
        patch.setattr("tiledseg.pipeline._surfaces.BYTES_PER_CUBE", 1 << 40)
        with pytest.raises(BudgetExceeded, match="take noise out of the map first"):
            asked(image, model, "surfaces", target)
    assert not target.exists()
    monkeypatch.setattr(_outputs, "machine", FULL)
    monkeypatch.setattr(_surfaces, "machine", FULL)
    asked(image, model, "surfaces", target)
    assert list(target.iterdir())


def test_small_maps_may_be_noise() -> None:
    """Some 500 bytes for every sample, of large ones for every thousandth."""
    fixed = polygons_need(0)
    assert polygons_need(10_000) - fixed == 500 * 10_000
    assert polygons_need(10**9) - fixed == 500 * 10**6
