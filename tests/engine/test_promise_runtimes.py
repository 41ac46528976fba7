"""Promise 1 in every way the CPU has to run a model: one map, one set of scores.

Whatever the cores, the workers and the order in which tiles are computed.
"""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from tests.engine.stores import begun
from tiledseg.engine import (
    Runner,
    ScoreCoding,
    SerialRunner,
    ThreadRunner,
    TileLost,
    Unit,
)
from tiledseg.io import MemorySource
from tiledseg.labels import ClassSchema
from tiledseg.models import Model, ModelCard, Runtime, card_to_dict, load_model, runtimes
from tiledseg.planning import ModelShape, make_plan
from tiledseg.tiling import TilePlan, TilingSpec

MakeModel = Callable[..., Path]

#: The whole image first. Windows are 32 x 40 and 12 x 16 x 12.
CORES = {
    2: [(101, 93), (40, 40), (33, 93), (101, 17)],
    3: [(26, 30, 25), (12, 30, 12), (26, 11, 25), (9, 9, 13)],
}
WINDOWS = {2: (32, 40), 3: (12, 16, 12)}
EXACT = ScoreCoding(np.dtype(np.float32), None, float("nan"))


def _ways() -> list[object]:
    """Return every (axes, runtime) that is installed; what is compiled is slow."""
    # torch imports parts of itself that it calls deprecated, once it compiles.
    deprecated = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
    params = []
    for dims in (2, 3):
        schema = ClassSchema.of_names(["a", "b"])
        card = ModelCard("any", "tiledseg", "none", dims, ("c",), schema, (8,) * dims)
        for way in runtimes(card, "cpu"):
            marks = (pytest.mark.slow, deprecated) if way.name == "compiled" else ()
            params.append(pytest.param(dims, way, id=f"{dims}-D {way}", marks=marks))
    return params


def image(shape: tuple[int, ...]) -> np.ndarray:
    """Return blocky noise, (3, *shape), 0 to 255."""
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 200, (3, *(n // 5 + 1 for n in shape)))
    for axis in range(1, coarse.ndim):
        coarse = coarse.repeat(5, axis)
    cut = coarse[(slice(None), *(slice(n) for n in shape))]
    return (cut + rng.integers(0, 56, cut.shape)).astype(np.uint8)


def plan_for(source: MemorySource, model: Model, core: tuple[int, ...], threads: int) -> TilePlan:
    card = model.card
    shape = ModelShape(card.window, card.multiple, card.any_size, card.margin)
    spec = TilingSpec(core=core, window=WINDOWS[card.dims])
    return make_plan(source.grid, spec, shape, 3, threads)


def compute(
    folder: Path,
    source: MemorySource,
    model: Model,
    plan: TilePlan,
    runner: Runner,
    order: random.Random,
) -> tuple[np.ndarray, np.ndarray]:
    """Return class map and scores of a plan whose tiles come in some order."""
    store, task = begun(folder, plan, source, model, EXACT)
    tiles = list(plan)
    order.shuffle(tiles)
    events: list[Any] = []
    runner.run(Unit(task, tile, events.append) for tile in tiles)
    assert not [event for event in events if isinstance(event, TileLost)]
    return store.labels(plan.grid.box), store.scores(plan.grid.box)


def sha(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def assert_one_result(folder: Path, model: Model, threads: int) -> None:
    """Compute a model's map and scores in cores, orders and runners of many kinds."""
    cores = CORES[model.card.dims]
    source = MemorySource(image(cores[0]))
    whole = plan_for(source, model, cores[0], threads)
    seen = {}
    for n, core in enumerate(cores):
        for runner in (SerialRunner(), ThreadRunner(2)):
            name = f"{core} {type(runner).__name__}"
            plan = replace(whole, core=core)
            labels, scores = compute(folder / name, source, model, plan, runner, random.Random(n))
            assert len(np.unique(labels)) > 1, "one class everywhere shows nothing"
            assert np.isfinite(scores).all()
            seen[name] = sha(labels, scores)
    assert len(set(seen.values())) == 1, seen


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("dims", "way"), _ways())
def test_one_map_and_one_set_of_scores(
    tmp_path: Path, make_model: MakeModel, dims: int, way: Runtime, threads: int
) -> None:
    assert_one_result(tmp_path, load_model(make_model(dims), threads=threads, runtime=way), threads)


def _torchscript(network: nn.Module, path: Path) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch: deprecated, and every extent it takes as fixed
        torch.jit.trace(network, torch.zeros(1, 3, 32, 40)).save(path)


def _pt2(network: nn.Module, path: Path) -> None:
    free = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    with torch.no_grad():
        made = torch.export.export(network, (torch.zeros(2, 3, 32, 40),), dynamic_shapes=(free,))
    torch.export.save(made, path)


def _openvino(network: nn.Module, path: Path) -> None:
    ov = pytest.importorskip("openvino")
    graph = path.with_suffix(".onnx")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        free = {"x": {0: "n", 2: "h", 3: "w"}}
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 32, 40),),
            str(graph),
            dynamo=False,
            input_names=["x"],
            dynamic_axes=free,
        )
    ov.save_model(ov.convert_model(str(graph)), str(path), compress_to_fp16=False)


EXPORTS = {
    "torchscript": (_torchscript, ".ts"),
    "pt2": (_pt2, ".pt2"),
    "openvino": (_openvino, ".xml"),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", EXPORTS)
def test_graph_files_too(tmp_path: Path, make_model: MakeModel, kind: str, threads: int) -> None:
    native = load_model(make_model(2))
    assert native.network is not None
    export, suffix = EXPORTS[kind]
    path = tmp_path / f"net{suffix}"
    export(native.network.to(memory_format=torch.contiguous_format), path)
    card = {**card_to_dict(native.card), "format": kind, "weights": path.name, "sha256": None}
    path.with_suffix(".yaml").write_text(yaml.safe_dump({**card, "architecture": {}}))
    model = load_model(path, threads=threads)
    x = torch.from_numpy(image((32, 40))[None].astype(np.float32)) / 100 - 1
    torch.testing.assert_close(model(x), native(x), rtol=1e-4, atol=1e-4)
    assert_one_result(tmp_path, model, threads)
