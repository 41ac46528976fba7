"""The engine's promises, on real networks with random weights; the oracle is the whole image."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiledseg
from tests.engine.images import blocky
from tests.engine.stores import begun
from tiledseg.engine import (
    Runner,
    SerialRunner,
    ThreadRunner,
    TileDone,
    TileLost,
    Unit,
)
from tiledseg.io import MemorySource
from tiledseg.lattice import Lattice
from tiledseg.models import Model, ModelCard, load_model
from tiledseg.pipeline import Predictor
from tiledseg.planning import ModelShape, make_plan
from tiledseg.taper import Taper
from tiledseg.tiling import TilePlan, TilingSpec

MakeModel = Callable[..., Path]


def plan_for(source: MemorySource, model: Model, spec: TilingSpec, batch: int = 2) -> TilePlan:
    """Return a plan on one thread."""
    card = model.card
    shape = ModelShape(card.window, card.multiple, card.any_size, card.margin)
    return make_plan(source.grid, spec, shape, batch, 1)


def compute(
    folder: Path,
    source: MemorySource,
    model: Model,
    plan: TilePlan,
    runner: Runner | None = None,
    order: random.Random | None = None,
) -> tuple[np.ndarray, list[Any]]:
    """Run a plan and return the class map and the events."""
    store, task = begun(folder, plan, source, model)
    tiles = list(plan)
    if order is not None:
        order.shuffle(tiles)
    events: list[Any] = []
    (runner or SerialRunner()).run(Unit(task, tile, events.append) for tile in tiles)
    return store.labels(plan.grid.box), events


def sha(array: np.ndarray) -> str:
    """Return the sha256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


CORES_2D = [(301, 257), (128, 128), (64, 200), (33, 57), (301, 40)]
CORES_3D = [(40, 50, 45), (24, 24, 24), (11, 50, 20), (40, 17, 13), (16, 16, 45)]


@pytest.mark.parametrize(
    ("dims", "wishes"),
    [
        (2, TilingSpec()),
        (3, TilingSpec()),
        (3, TilingSpec(taper=Taper.MONAI, lattice=Lattice.CLAMPED, blend="logits")),
    ],
    ids=["2-D", "3-D", "as MONAI"],
)
def test_one_map_whatever_the_cores_the_runner_and_the_order(
    tmp_path: Path, make_model: MakeModel, dims: int, wishes: TilingSpec
) -> None:
    cores = CORES_2D if dims == 2 else CORES_3D
    source = MemorySource(blocky(cores[0]))
    model = load_model(make_model(dims))
    whole = plan_for(source, model, replace(wishes, core=cores[0]))
    seen = {}
    runners = [SerialRunner(), ThreadRunner(3)]
    for n, (core, runner) in enumerate((c, r) for c in cores for r in runners):
        plan = replace(whole, core=core)
        folder = tmp_path / str(n)
        labels, events = compute(folder, source, model, plan, runner, random.Random(n))
        done = [e.receipt for e in events if isinstance(e, TileDone)]
        assert sum(r.evaluated for r in done) == plan.planned
        assert len(done) == len(plan)
        seen[core, type(runner).__name__] = sha(labels)
    assert len(set(seen.values())) == 1, seen


@pytest.mark.parametrize("window", [(64, 64), (96, 80)])
def test_a_local_model_tiled_is_the_whole_image(
    tmp_path: Path, make_model: MakeModel, window: tuple[int, int]
) -> None:
    source = MemorySource(blocky((202, 190)))
    model = load_model(make_model())
    values = model.card.normalization(source.read(source.grid.box), np.ones((202, 190), bool))
    scores = torch.softmax(model(torch.from_numpy(values)[None])[0], 0)
    top = scores.topk(2, dim=0).values
    plan = plan_for(source, model, TilingSpec(window=window, margin=12, core=(100, 95)))
    labels, _ = compute(tmp_path / "w", source, model, plan)
    clear = (top[0] - top[1] > 1e-4).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[clear], scores.argmax(0).numpy()[clear])


def test_without_the_margin_the_result_differs(tmp_path: Path, make_model: MakeModel) -> None:
    """The test above can fail: with touching windows and no margin there are seams."""
    source = MemorySource(blocky((202, 190)))
    model = load_model(make_model())
    spec = TilingSpec(window=(64, 64), stride=(64, 64), margin=0)
    seamed, _ = compute(tmp_path / "a", source, model, plan_for(source, model, spec))
    exact, _ = compute(
        tmp_path / "b", source, model, plan_for(source, model, TilingSpec(margin=12))
    )
    assert (seamed != exact).any()


def test_nodata_goes_out_where_it_came_in_and_costs_no_window(
    tmp_path: Path, make_model: MakeModel
) -> None:
    pixels = blocky((256, 256)) | 1
    pixels[:, :128, :] = 0
    pixels[0, 200, 30:40] = 0  # one band only: still measured
    source = MemorySource(pixels, nodata=0)
    model = load_model(make_model())
    plan = plan_for(source, model, TilingSpec(core=(100, 256)))
    labels, events = compute(tmp_path / "w", source, model, plan)
    assert (labels[:128] == 255).all()
    assert (labels[128:] != 255).all()
    done = [e.receipt for e in events if isinstance(e, TileDone)]
    assert sum(r.skipped for r in done) > 0
    assert sum(r.skipped + r.evaluated for r in done) == plan.planned


def test_nan_is_nodata_and_does_not_spread(tmp_path: Path, make_model: MakeModel) -> None:
    pixels = blocky((128, 128)).astype(np.float32)
    pixels[1, 60, 60] = np.nan
    pixels[2, 10, 10] = np.inf
    model = load_model(make_model())
    source = MemorySource(pixels)
    labels, _ = compute(tmp_path / "w", source, model, plan_for(source, model, TilingSpec()))
    assert np.argwhere(labels == 255).tolist() == [[10, 10], [60, 60]]


class ConstantModel(Model):
    """Answers with the same logits everywhere."""

    device = torch.device("cpu")

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.tensor([0.1, 0.3, 0.2, 0.0]).reshape(1, 4, *(1,) * (x.ndim - 2))
        return logits.expand(len(x), 4, *x.shape[2:]).contiguous()


class PoisonedModel(ConstantModel):
    """Fails on windows that hold a certain value."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if (x > 10).any():
            raise RuntimeError("poison")
        return super().__call__(x)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (65, 67), (5, 9), (1, 1)])
def test_constant_in_constant_out(
    tmp_path: Path, make_model: MakeModel, shape: tuple[int, int]
) -> None:
    model = ConstantModel(load_model(make_model()).card)
    source = MemorySource(blocky(shape))
    labels, _ = compute(tmp_path / "w", source, model, plan_for(source, model, TilingSpec()))
    assert (labels == 1).all()


def test_a_poisoned_tile_loses_only_itself(tmp_path: Path, make_model: MakeModel) -> None:
    pixels = blocky((128, 128)).astype(np.float32)
    pixels[:, 100, 100] = 1e6
    model = PoisonedModel(load_model(make_model()).card)
    source = MemorySource(pixels)
    plan = plan_for(source, model, TilingSpec(window=(16, 16), core=(64, 64)))
    labels, events = compute(tmp_path / "w", source, model, plan)
    lost = [e for e in events if isinstance(e, TileLost)]
    assert [e.tile for e in lost] == [3]
    assert "poison" in lost[0].reason
    assert (labels[64:, 64:] == 255).all()
    assert (labels == 255).sum() == 64 * 64


def test_a_fault_late_in_a_tile_leaves_no_rows_behind(
    tmp_path: Path, make_model: MakeModel
) -> None:
    """Rows of the tile that were already written become nodata again."""
    pixels = blocky((1200, 60)).astype(np.float32)
    pixels[:, 900, 30] = 1e6
    model = PoisonedModel(load_model(make_model()).card)
    tiling = {"core": (1100, 60), "window": (64, 60)}
    result = tiledseg.segment(
        pixels, Predictor(model, "poisoned"), tiling=tiling, runtime={"threads": 1}
    )
    assert list(result.ran.lost) == [0]
    assert result.array is not None
    assert (result.array[:1100] == 255).all()
    assert (result.array[1100:] != 255).all()


def test_a_model_that_answers_nan_loses_its_tile(tmp_path: Path, make_model: MakeModel) -> None:
    class Nan(ConstantModel):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return super().__call__(x) * float("nan")

    model = Nan(load_model(make_model()).card)
    source = MemorySource(blocky((64, 64)))
    labels, events = compute(tmp_path / "w", source, model, plan_for(source, model, TilingSpec()))
    assert "NaN" in events[-1].reason
    assert (labels == 255).all()
