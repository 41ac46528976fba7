"""Resampled on the way in and out, in the sweep: the whole image's values, whatever the tiles."""

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
from scipy import ndimage
from skimage.transform import resize

from tests.engine.images import blocky
from tests.engine.stores import begun
from tiledseg.box import Box
from tiledseg.engine import (
    ScoreCoding,
    SerialRunner,
    ThreadRunner,
    TileDone,
    TileLost,
    Unit,
)
from tiledseg.engine._open_ring import open_score_ring
from tiledseg.engine._result_rows import _DeviceRows, _HostRows
from tiledseg.grid import Grid
from tiledseg.io import MemorySource, ResampledSource, Source
from tiledseg.models import Model, load_model
from tiledseg.planning import ModelShape, make_plan
from tiledseg.resampling import Method, Scaling, Target
from tiledseg.tiling import TilePlan, TilingSpec

MakeModel = Callable[..., Path]
#: Shape of the image, and of the model's grid: coarser, finer, and both at once; odd numbers.
CASES = {
    "coarser": ((301, 257), (187, 103)),
    "finer": ((101, 83), (203, 187)),
    "mixed": ((150, 90), (97, 171)),
    "volume": ((40, 50, 45), (23, 31, 61)),
    "one axis": ((19, 50, 45), (53, 50, 45)),
}
FLOAT = ScoreCoding(np.dtype(np.float32), None, float("nan"))


def resampled(
    shown: Source, shape: tuple[int, ...], image: Method, scores: Method
) -> tuple[ResampledSource, Target]:
    """Return an image on a grid of ``shape``, and the way back."""
    scaling = Scaling.centred(shown.grid.shape, shape)
    source = ResampledSource(shown, shape, scaling, (image,) * len(shape))
    back = Scaling.centred(shape, shown.grid.shape)
    return source, Target(shown.grid, shape, back, (scores,) * len(shape))


def planned(source: Source, model: Model, spec: TilingSpec, target: Target | None) -> TilePlan:
    card = model.card
    shape = ModelShape(card.window, card.multiple, card.any_size, card.margin)
    return make_plan(source.grid, spec, shape, 2, 1, target)


def compute(
    folder: Path,
    plan: TilePlan,
    model: Model,
    sources: tuple[Source, Source | None],
    runner: Any = None,
    seed: int | None = None,
    **more: Any,
) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Run a plan and return class map, scores and the tiles' receipts."""
    store, task = begun(folder, plan, sources[0], model, FLOAT, shown=sources[1], **more)
    tiles = list(plan)
    if seed is not None:
        random.Random(seed).shuffle(tiles)
    events: list[Any] = []
    (runner or SerialRunner()).run(Unit(task, tile, events.append) for tile in tiles)
    assert not [e.reason for e in events if isinstance(e, TileLost)]
    receipts = [e.receipt for e in events if isinstance(e, TileDone)]
    box = plan.output.box
    return store.labels(box), store.scores(box), receipts


def cores(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return cores of several sizes, the whole first."""
    parts = [(1,) * len(shape), (2, 3, 2), (3, 1, 4), (7, 2, 1)]
    return [tuple(-(-n // p) for n, p in zip(shape, part, strict=False)) for part in parts]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("image", "scores"), [("linear", "linear"), ("cubic", "nearest")])
def test_one_map_whatever_the_cores_the_runner_and_the_order(
    tmp_path: Path, make_model: MakeModel, case: str, image: Method, scores: Method
) -> None:
    shape, seen = CASES[case]
    shown = MemorySource(blocky(shape))
    model = load_model(make_model(len(shape)))
    source, target = resampled(shown, seen, image, scores)
    whole = planned(source, model, TilingSpec(), target)
    found = set()
    for n, core in enumerate(cores(shape)):
        runner = ThreadRunner(3) if n % 2 else SerialRunner()
        plan = replace(whole, core=core)
        assert TilePlan.from_dict(plan.to_dict()) == plan
        results = compute(tmp_path / str(n), plan, model, (source, shown), runner, n)
        assert sum(r.evaluated for r in results[2]) == plan.planned
        digest = hashlib.sha256(results[0].tobytes() + results[1].tobytes()).hexdigest()
        found.add(digest)
    assert len(found) == 1


def oracle(
    pixels: np.ndarray, seen: tuple[int, ...], order: int, model: Model, logits: bool = False
) -> np.ndarray:
    """Return the scores of the whole image: scikit-image in, one call of the model, scipy out."""
    shape = pixels.shape[1:]
    plain = {"mode": "edge", "anti_aliasing": False, "clip": False}
    inside = np.stack([resize(c.astype(np.float64), seen, order, **plain) for c in pixels])
    values = model.card.normalization(inside.astype(np.float32), np.ones(seen, bool))
    raw = model(torch.from_numpy(values)[None])[0]
    scores = (raw if logits else torch.softmax(raw, 0)).numpy()
    places = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(shape, seen, strict=True)]
    at = np.meshgrid(*places, indexing="ij")
    found = np.stack([ndimage.map_coordinates(k, at, order=1, mode="nearest") for k in scores])
    return torch.softmax(torch.from_numpy(found), 0).numpy() if logits else found


@pytest.mark.parametrize("case", ["coarser", "finer", "volume"])
@pytest.mark.parametrize(
    ("image", "logits"), [("linear", False), ("cubic", False), ("cubic", True)]
)
def test_a_local_model_tiled_is_the_whole_image(
    tmp_path: Path, make_model: MakeModel, case: str, image: Method, logits: bool
) -> None:
    shape, seen = CASES[case]
    seen = tuple(n - n % 2 for n in seen)  # what the model takes in one piece
    pixels = blocky(shape)
    shown = MemorySource(pixels)
    model = load_model(make_model(len(shape)))
    source, target = resampled(shown, seen, image, "linear")
    margin = 12 if len(shape) == 2 else 8
    window = (64, 64) if len(shape) == 2 else (32, 32, 32)
    blend = "logits" if logits else None
    spec = TilingSpec(window=window, margin=margin, core=cores(shape)[1], blend=blend)
    plan = planned(source, model, spec, replace(target, logits=logits))
    labels, scores, _ = compute(tmp_path / "w", plan, model, (source, shown))
    expected = oracle(pixels, seen, 3 if image == "cubic" else 1, model, logits)
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    best = np.sort(expected, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    np.testing.assert_array_equal(labels[clear], expected.argmax(0)[clear])


def test_nearest_scores_are_nearest_labels(tmp_path: Path, make_model: MakeModel) -> None:
    """Labels are decided on the model's grid, and the nearest is taken."""
    shape, seen = CASES["mixed"]
    shown = MemorySource(blocky(shape))
    model = load_model(make_model())
    source, target = resampled(shown, seen, "linear", "nearest")
    there = planned(source, model, TilingSpec(), None)
    on_model, _, _ = compute(tmp_path / "a", there, model, (source, None))
    plan = planned(source, model, TilingSpec(core=(40, 33)), target)
    labels, _, _ = compute(tmp_path / "b", plan, model, (source, shown))
    at = [
        np.floor((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(shape, seen, strict=True)
    ]
    np.testing.assert_array_equal(labels, on_model[np.ix_(*at)])


@pytest.mark.parametrize("case", ["coarser", "finer", "volume"])
def test_nodata_goes_out_where_it_came_in(tmp_path: Path, make_model: MakeModel, case: str) -> None:
    shape, seen = CASES[case]
    pixels = blocky(shape).astype(np.float32) + 1
    missing = np.random.default_rng(1).random(shape) < 0.02
    missing[: shape[0] // 2, : shape[1] // 2] = True
    missing[3, 5] = missing[-1, -1] = True
    pixels[:, missing] = -9999
    holes = np.argwhere(~missing)[::500]
    pixels[(0, *holes.T)] = np.nan
    missing[tuple(holes.T)] = True
    shown = MemorySource(pixels, nodata=-9999)
    model = load_model(make_model(len(shape)))
    source, target = resampled(shown, seen, "cubic", "linear")
    plan = planned(source, model, TilingSpec(), target)
    found = set()
    for core in cores(shape)[:3]:
        results = compute(tmp_path / str(core), replace(plan, core=core), model, (source, shown))
        np.testing.assert_array_equal(results[0] == 255, missing)
        np.testing.assert_array_equal(np.isnan(results[1][0]), missing)
        found.add(hashlib.sha256(results[0].tobytes()).hexdigest())
    assert len(found) == 1
    sums = results[1].sum(axis=0)[~missing]
    np.testing.assert_allclose(sums, 1, atol=1e-5)  # every wanted sample has all its windows


def test_another_grid_than_the_images(tmp_path: Path, make_model: MakeModel) -> None:
    """A result on a grid that sticks out of the image is nodata there."""
    shape, seen = (90, 80), (60, 100)
    shown = MemorySource(blocky(shape))
    model = load_model(make_model())
    source, _ = resampled(shown, seen, "linear", "linear")
    wanted = Grid.from_matrix((70, 50), [[1.5, 0, 20], [0, 1.5, -10], [0, 0, 1]])
    back = Scaling.between(source.grid, wanted, "the grid")
    target = Target(wanted, seen, back, ("linear", "linear"))
    there = Scaling.between(shown.grid, wanted, "the grid")
    picked = ResampledSource(shown, wanted.shape, there, ("nearest",) * 2, border="missing")
    found = set()
    for n, core in enumerate([(70, 50), (20, 50), (33, 17)]):
        plan = planned(source, model, TilingSpec(core=core), target)
        labels, scores, _ = compute(tmp_path / str(n), plan, model, (source, picked))
        found.add(labels.tobytes())
    assert len(found) == 1
    world = wanted.index_to_world(np.stack(np.indices(wanted.shape), -1) + 0.5)
    inside = ((world > 0) & (world < np.array(shape[::-1]))).all(axis=-1)
    np.testing.assert_array_equal(labels != 255, inside)
    plain = planned(source, model, TilingSpec(), None)
    _, on_model, _ = compute(tmp_path / "m", plain, model, (source, None))
    index = np.moveaxis(source.grid.world_to_index(world), -1, 0) - 0.5
    for k in range(4):
        expected = ndimage.map_coordinates(on_model[k], index, order=1, mode="nearest")
        np.testing.assert_allclose(scores[k][inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("case", ["mixed", "volume", "one axis"])
@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_compiled_and_whole_array_steps_make_the_same_rows(
    make_model: MakeModel, case: str, method: Method
) -> None:
    """The steps for a GPU, here on the host, give what the compiled loop gives."""
    shape, seen = CASES[case]
    source, target = resampled(MemorySource(blocky(shape)), seen, "linear", method)
    model = load_model(make_model(len(shape)))
    plan = planned(source, model, TilingSpec(window=tuple(n + n % 2 for n in seen)), target)
    core = Box(tuple(n // 5 for n in shape), tuple(n - n // 7 for n in shape))
    scored = plan.scored(core)
    made = []
    for kind, inner in ((_HostRows, scored), (_DeviceRows, core)):
        ring = open_score_ring(plan, scored, model)
        generator = torch.Generator().manual_seed(0)
        ring.scores.copy_(torch.rand(ring.scores.shape, generator=generator))
        rows = kind(target, core, torch.zeros((4, 4, *inner.shape[1:])))
        scores, labels, stop = [], [], core.start[0]
        for row in range(scored.start[0], scored.stop[0], 5):
            end = min(row + 5, scored.stop[0])
            box, _ = rows.ready(end)
            assert box.start[0] == stop
            stop = box.stop[0]
            for final in rows.finals(ring, (row, end), np.arange(4, dtype=np.uint8)):
                scores.append(final.scores.numpy().copy())
                labels.append(final.labels)
        assert stop == core.stop[0]
        made.append((np.concatenate(scores, axis=1), np.concatenate(labels)))
    assert made[0][0].shape == (4, *core.shape)
    np.testing.assert_allclose(made[0][0], made[1][0], atol=1e-6)
    assert (made[0][1] == made[1][1]).mean() > 0.999


def test_air_is_background_and_costs_no_window(tmp_path: Path, make_model: MakeModel) -> None:
    """Windows of air are skipped on the model's grid; what is air there is background here."""
    shape, seen = (150, 90), (301, 187)
    pixels = blocky(shape).astype(np.int16)
    pixels[:, 60:] = -1000
    shown = MemorySource(pixels)
    model = load_model(make_model())
    source, target = resampled(shown, seen, "linear", "linear")
    found = set()
    for n, core in enumerate(cores(shape)[:3]):
        plan = planned(source, model, TilingSpec(core=core), target)
        results = compute(tmp_path / str(n), plan, model, (source, shown), skip_below=-900)
        assert sum(r.skipped for r in results[2]) > 0
        found.add(results[0].tobytes() + results[1].tobytes())
    assert len(found) == 1
    assert (results[0][100:] == 0).all()
    np.testing.assert_allclose(results[1][0, 100:], 1, atol=1e-6)
    assert len(np.unique(results[0][:60])) > 1


def test_a_sample_that_the_models_grid_misses_is_still_segmented(
    tmp_path: Path, make_model: MakeModel
) -> None:
    """Every third sample is picked, and not the one that was measured."""
    pixels = np.full((3, 300, 270), 7, np.uint8)
    pixels[:, 102, 102] = 90
    shown = MemorySource(pixels, nodata=7)
    model = load_model(make_model())
    source, target = resampled(shown, (100, 90), "nearest", "linear")
    assert not source.valid(source.grid.box).any()
    plan = planned(source, model, TilingSpec(core=(110, 90)), target)
    labels, scores, _ = compute(tmp_path / "w", plan, model, (source, shown))
    assert np.argwhere(labels != 255).tolist() == [[102, 102]]
    np.testing.assert_allclose(scores[:, 102, 102].sum(), 1, atol=1e-5)
