"""The blend in half precision: numpy's and torch's halves are the oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tiledseg.box import Box
from tiledseg.engine import _half_kernels as kernels
from tiledseg.engine._half_ring import _LIMIT, _HalfDeviceRing, open_half_ring
from tiledseg.engine._score_ring import ScoreRing
from tiledseg.grid import Grid
from tiledseg.lattice import Lattice
from tiledseg.models import Model, ModelCard, load_model
from tiledseg.planning import ModelShape, make_plan
from tiledseg.taper import Taper
from tiledseg.tiling import TilePlan, TilingSpec

MakeModel = Callable[..., Path]
SHAPES = {2: ((40, 33), (16, 12), (8, 6)), 3: ((20, 17, 19), (8, 8, 7), (4, 4, 3.5))}


class Networks(Model):
    """Stands for several networks; it is never called."""

    device = torch.device("cpu")

    def __init__(self, card: ModelCard, stacked: int) -> None:
        self.card, self.stacked = card, stacked

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("not to be called")


def planned(dims: int, shape: tuple[int, ...] | None = None) -> TilePlan:
    extents, window, stride = SHAPES[dims]
    spec = TilingSpec(window=window, stride=stride, taper=Taper.NNUNET, lattice=Lattice.EVEN)
    return make_plan(Grid.local(shape or extents), spec, ModelShape(window, 1, True, 0), 1, 2)


def windows(plan: TilePlan) -> Iterator[tuple[int, ...]]:
    yield from np.ndindex(*map(len, plan.starts))


def reference(
    plan: TilePlan, raws: dict[tuple[int, ...], torch.Tensor], outputs: int
) -> np.ndarray:
    """Return the mean of all networks, as nnU-Net's torch code gets it: (k, *image), halves."""
    some = next(iter(raws.values()))
    pad = [max(0, w - n) for w, n in zip(plan.window, plan.grid.shape, strict=True)]
    shape = [n + p for n, p in zip(plan.grid.shape, pad, strict=True)]
    sums = torch.zeros((len(some), *shape), dtype=torch.half)
    counts = torch.zeros(shape, dtype=torch.half)
    weights = torch.from_numpy(np.asarray(plan.weight_map)).half()
    for where in windows(plan):
        start = [axis[i] for axis, i in zip(plan.starts, where, strict=True)]
        place = tuple(
            slice(a + p // 2, a + p // 2 + w)
            for a, p, w in zip(start, pad, plan.window, strict=True)
        )
        sums[(slice(None), *place)] += raws[where] * weights
        counts[place] += weights
    torch.div(sums, counts, out=sums)
    inside = tuple(slice(p // 2, p // 2 + n) for p, n in zip(pad, plan.grid.shape, strict=True))
    each = sums[(slice(None), *inside)].split(outputs)
    total = each[0].clone()
    for other in each[1:]:
        total += other
    if len(each) > 1:
        total /= len(each)
    return total.numpy()


def swept(
    ring: ScoreRing, plan: TilePlan, raws: dict[tuple[int, ...], torch.Tensor], labels: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Add all windows and return the final numbers and labels."""
    scores, found, done = [], [], 0
    with ring:
        for place in range(len(plan.starts[0])):
            for where in windows(plan):
                if where[0] == place:
                    ring.add(raws[where], where)
            last = place + 1 == len(plan.starts[0])
            stop = plan.grid.shape[0] if last else max(0, plan.starts[0][place + 1])
            for final in ring.take(done, stop, labels):
                scores.append(final.scores.numpy().copy())
                found.append(final.labels)
            done = stop
    return np.concatenate(scores, axis=1), np.concatenate(found)


def drawn(plan: TilePlan, channels: int, seed: int = 3) -> dict[tuple[int, ...], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (channels, *plan.window)
    return {where: torch.randn(shape, generator=generator) * 4 for where in windows(plan)}


@pytest.fixture
def card(make_model: MakeModel) -> ModelCard:
    return load_model(make_model(3)).card


@pytest.mark.parametrize("kind", ["host", "device"])
@pytest.mark.parametrize("networks", [1, 2, 5])
@pytest.mark.parametrize(
    ("dims", "shape"), [(2, None), (3, None), (3, (5, 17, 19)), (3, (20, 4, 3)), (2, (7, 9))]
)
def test_every_bit_is_that_of_torch(
    card: ModelCard, dims: int, shape: tuple[int, ...] | None, networks: int, kind: str
) -> None:
    plan, labels = planned(dims, shape), np.arange(4, dtype=np.uint8) * 3
    raws = drawn(plan, networks * 4)
    model = Networks(card, networks)
    ring = open_half_ring(plan, plan.grid.box, model)
    if kind == "device":
        sums = torch.zeros((networks * 4, plan.window[0], *plan.grid.shape[1:]), dtype=torch.half)
        ring = _HalfDeviceRing(plan, plan.grid.box, sums, model)
    scores, found = swept(ring, plan, raws, labels)
    expected = reference(plan, raws, 4)
    np.testing.assert_array_equal(scores, expected.astype(np.float32))
    np.testing.assert_array_equal(found, labels[expected.argmax(0)])


def test_a_core_changes_nothing(card: ModelCard) -> None:
    plan = planned(3)
    labels, raws, model = np.arange(4, dtype=np.uint8), drawn(plan, 8), Networks(card, 2)
    whole, _ = swept(open_half_ring(plan, plan.grid.box, model), plan, raws, labels)
    core = Box((0, 5, 3), (20, 16, 11))
    spans = plan.windows(core)
    ring = open_half_ring(plan, core, model)
    mine = {w: r for w, r in raws.items() if all(i in s for i, s in zip(w, spans, strict=True))}
    with ring:
        parts = []
        for place in range(len(plan.starts[0])):
            for where, raw in mine.items():
                if where[0] == place:
                    ring.add(raw, where)
            last = place + 1 == len(plan.starts[0])
            low = plan.starts[0][place]
            high = 20 if last else plan.starts[0][place + 1]
            parts += [f.scores.numpy().copy() for f in ring.take(low, high, labels)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole[:, :, 5:16, 3:11])


def test_all_halves_there_and_back() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    halves = bits.view(np.float16)
    wide = np.array([kernels.wide(b) for b in bits], np.float32)
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    finite = np.sort(halves[np.isfinite(halves)]).astype(np.float64)
    between = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)  # exact: ties
    edges = [np.nextafter(between, np.float32(side)) for side in (-np.inf, np.inf)]
    some = np.random.default_rng(0).integers(0, 1 << 32, 1 << 16, dtype=np.uint64)
    values = np.concatenate([wide, between, *edges, some.astype(np.uint32).view(np.float32)])
    narrow = np.array([kernels.narrow(v) for v in values], np.uint16).view(np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(narrow, expected)
    np.testing.assert_array_equal(
        np.signbit(narrow)[~np.isnan(expected)], np.signbit(expected)[~np.isnan(expected)]
    )


def test_float64_is_rounded_to_halves_once() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.sort(halves[np.isfinite(halves)]).astype(np.float64)
    ties = (finite[1:] + finite[:-1]) / 2
    near = [ties * (1 + sign * 2.0**-shift) for sign in (-1, 1) for shift in (26, 40, 52)]
    values = np.concatenate([finite, ties, *near, np.random.default_rng(0).normal(0, 9, 4096)])
    found = np.array([kernels.narrowed(v) for v in values], np.uint16).view(np.float16)
    np.testing.assert_array_equal(found, values.astype(np.float16))


def test_rows_between_are_those_of_float64() -> None:
    rng = np.random.default_rng(3)
    ring = rng.normal(0, 5, (4, 6, 7, 8)).astype(np.float16).astype(np.float32)
    axes = []
    for n, made in ((6, 5), (7, 12), (8, 9)):
        low = rng.integers(0, n - 1, made)
        t = rng.random(made)
        axes.append((np.stack([low, low + 1], 1), np.stack([1 - t, t], 1)))
    found = np.zeros((4, 5, 12, 9), np.float32)
    kernels.make_half_rows(ring, *axes, (0, 12), found)
    expected = ring.astype(np.float64)
    for axis, (index, weight) in enumerate(axes, start=1):
        shape = [-1 if a == axis else 1 for a in range(4)]
        parts = (expected.take(index[:, i], axis) * weight[:, i].reshape(shape) for i in (0, 1))
        expected = sum(parts)
    np.testing.assert_array_equal(found, expected.astype(np.float16).astype(np.float32))


def test_the_limit_is_where_torchs_sigmoid_leaves_a_half() -> None:
    halves = torch.arange(1, 64, dtype=torch.int16).view(torch.half).float()
    above = torch.sigmoid(halves) > 0.5
    np.testing.assert_array_equal(above.numpy(), (halves > _LIMIT).numpy())


@pytest.mark.parametrize("kind", ["host", "device"])
def test_labels_are_painted_one_over_the_other(card: ModelCard, kind: str) -> None:
    plan, labels = planned(3), np.array([0, 1, 2, 3, 9], np.uint8)
    painted = Networks(replace(card, painted=True, activation="sigmoid"), 1)
    painted.card = replace(painted.card, single_output=False)
    outputs = painted.card.outputs
    raws = drawn(plan, outputs)
    ring = open_half_ring(plan, plan.grid.box, painted)
    if kind == "device":
        sums = torch.zeros((outputs, plan.window[0], *plan.grid.shape[1:]), dtype=torch.half)
        ring = _HalfDeviceRing(plan, plan.grid.box, sums, painted)
    _, found = swept(ring, plan, raws, labels)
    expected = np.zeros(plan.grid.shape, np.uint8)
    likely = torch.sigmoid(torch.from_numpy(reference(plan, raws, outputs)).float()).numpy()
    for channel in range(outputs):
        expected[likely[channel] > 0.5] = labels[channel + 1]
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 2


def test_what_halves_cannot_hold_is_told(card: ModelCard) -> None:
    plan, labels = planned(2), np.arange(4, dtype=np.uint8)
    for wrong, told in ((np.nan, "NaN or infinity"), (9000.0, "exceed 65504")):
        raws = {w: torch.full((4, *plan.window), wrong) for w in windows(plan)}
        with pytest.raises(FloatingPointError, match=told):
            swept(open_half_ring(plan, plan.grid.box, Networks(card, 1)), plan, raws, labels)


@pytest.mark.parametrize("kind", ["host", "device"])
@pytest.mark.parametrize("networks", [1, 2])
def test_air_is_background_without_a_call(card: ModelCard, networks: int, kind: str) -> None:
    plan, labels = planned(2), np.arange(4, dtype=np.uint8)
    model = Networks(card, networks)
    ring = open_half_ring(plan, plan.grid.box, model)
    if kind == "device":
        sums = torch.zeros((networks * 4, plan.window[0], plan.grid.shape[1]), dtype=torch.half)
        ring = _HalfDeviceRing(plan, plan.grid.box, sums, model)
    with ring:
        for where in windows(plan):
            if where[0] == 0:
                ring.add_certain(2, where)
        (final,) = ring.take(0, 1, labels)
    assert (final.labels == 2).all()
    assert float(torch.softmax(final.scores, 0)[2].min()) > 0.999
