"""The lattice is fixed by the image alone; tiles share the work on it and nothing else."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tiledseg.box import Box
from tiledseg.errors import ConfigError
from tiledseg.grid import Grid
from tiledseg.lattice import Lattice, starts
from tiledseg.planning import ModelShape, make_plan
from tiledseg.taper import Taper
from tiledseg.tiling import TilePlan, TilingSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.data.utils import dense_patch_slices

SIZES = st.tuples(st.integers(1, 500), st.integers(1, 96), st.integers(1, 96)).map(
    lambda v: (v[0], v[1], min(v[1], v[2]))
)
UNET = ModelShape(window=(64, 64), multiple=8, any_size=True, margin=0)


@st.composite
def plans(draw: st.DrawFn, dims: int = 2, longest: int = 90) -> TilePlan:
    """Draw a plan of any lattice, margin and core."""
    multiple = draw(st.sampled_from([1, 2, 4]))
    window = tuple(multiple * draw(st.integers(2, 8)) for _ in range(dims))
    stride = tuple(multiple * draw(st.integers(1, w // multiple)) for w in window)
    room = min(w - s for w, s in zip(window, stride, strict=True))
    spec = TilingSpec(
        window=window,
        stride=stride,
        margin=draw(st.integers(0, room // 2)),
        taper=draw(st.sampled_from(Taper)),
        lattice=draw(st.sampled_from(Lattice)),
        core=draw(st.tuples(*[st.integers(1, longest)] * dims)),
    )
    grid = Grid.local(draw(st.tuples(*[st.integers(1, longest)] * dims)))
    model = ModelShape(window, multiple, any_size=draw(st.booleans()), margin=0)
    return make_plan(grid, spec, model, microbatch=2, threads=1)


def weighing(plan: TilePlan, axis: int, sample: int) -> set[int]:
    """The windows of an axis that weigh on a sample, by their weights."""
    found = set()
    pairs = zip(plan.starts[axis], plan.tapers[axis], strict=True)
    for i, (start, weights) in enumerate(pairs):
        if 0 <= sample - start < len(weights) and weights[sample - start] > 0:
            found.add(i)
    return found


# --------------------------------------------------------------------- lattices


@given(st.sampled_from(Lattice), SIZES)
def test_windows_cover_the_image_without_gaps(kind: Lattice, sizes: tuple[int, int, int]) -> None:
    extent, window, stride = sizes
    first = starts(kind, extent, window, stride, 1)
    assert list(first) == sorted(set(first))
    assert first[0] <= 0
    assert first[-1] + window >= extent
    assert all(b - a <= stride for a, b in pairwise(first))
    assert len(first) == max(1, -(-(extent - window) // stride) + 1)


@given(st.integers(1, 500), st.sampled_from([1, 2, 8, 16]), st.integers(1, 9), st.integers(1, 9))
def test_aligned_starts_are_multiples_and_need_little_padding(
    extent: int, multiple: int, window: int, stride: int
) -> None:
    size = max(window, stride) * multiple
    first = starts(Lattice.ALIGNED, extent, size, stride * multiple, multiple)
    assert all(a % multiple == 0 for a in first)
    assert extent <= size or first[-1] + size < extent + multiple


@given(SIZES)
def test_clamped_is_monais(sizes: tuple[int, int, int]) -> None:
    extent, window, stride = sizes
    extent = max(extent, window)
    expected = dense_patch_slices((extent,), (window,), (stride,), return_slice=True)
    found = starts(Lattice.CLAMPED, extent, window, stride, 1)
    assert found == tuple(s.start for (s,) in expected)


def nnunet_steps(extent: int, window: int, stride: int) -> tuple[int, ...]:
    """nnU-Net v2's rule: a mean step is computed first and then multiplied and rounded."""
    count = int(np.ceil((extent - window) / stride)) + 1
    step = (extent - window) / max(count - 1, 1)
    return tuple(int(np.round(step * i)) for i in range(count))


@given(SIZES)
def test_even_is_nnunets(sizes: tuple[int, int, int]) -> None:
    extent, window, stride = sizes
    extent = max(extent, window)
    assert starts(Lattice.EVEN, extent, window, stride, 1) == nnunet_steps(extent, window, stride)


@pytest.mark.parametrize(("extent", "window", "stride"), [(88, 6, 3), (155, 8, 5), (257, 8, 5)])
def test_even_rounds_a_half_as_nnunet_does(extent: int, window: int, stride: int) -> None:
    """The mean step times i falls just below a half that i * last / count would hit."""
    assert starts(Lattice.EVEN, extent, window, stride, 1) == nnunet_steps(extent, window, stride)


def test_even_gives_the_steps_nnunet_documents() -> None:
    """Image 110, patch 64, step 0.5: its own example."""
    assert starts(Lattice.EVEN, 110, 64, 32, 1) == (0, 23, 46)


@given(st.sampled_from([Lattice.EVEN, Lattice.CLAMPED]), st.integers(1, 64), st.integers(0, 64))
def test_a_small_image_sits_in_the_middle(kind: Lattice, extent: int, more: int) -> None:
    (start,) = starts(kind, extent, extent + more, 1, 1)
    before, after = -start, start + extent + more - extent
    assert after - before in (0, 1)


# --------------------------------------------------------------------- tiles


@given(st.one_of(plans(), plans(dims=3, longest=24)))
def test_cores_share_the_image_out(plan: TilePlan) -> None:
    owners = np.zeros(plan.grid.shape, int)
    for tile in plan[:400]:
        assert tile == plan[tile.index]
        owners[tile.core.slices] += 1
    assert owners.max() == 1
    assert len(plan) > 400 or owners.min() == 1


@given(plans(longest=60), st.data())
def test_a_tile_evaluates_every_window_that_weighs_on_its_core(
    plan: TilePlan, data: st.DataObject
) -> None:
    tile = plan[data.draw(st.integers(0, len(plan) - 1))]
    for axis, span in enumerate(plan.windows(tile.core)):
        samples = range(tile.core.start[axis], tile.core.stop[axis])
        assert set(span) == set().union(*(weighing(plan, axis, s) for s in samples))
    for place in product(*plan.windows(tile.core)):
        start = tuple(axis[i] for axis, i in zip(plan.starts, place, strict=True))
        assert tile.read.contains(Box.of_shape(plan.window, start))
    ends = [
        (axis[span[0]], axis[span[-1]] + w)
        for axis, span, w in zip(plan.starts, plan.windows(tile.core), plan.window, strict=True)
    ]
    assert tile.read == Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))


@given(plans(longest=40), st.tuples(*[st.integers(1, 40)] * 2))
def test_a_blend_does_not_depend_on_the_cores(plan: TilePlan, core: tuple[int, int]) -> None:
    """Every window says something else; what a sample gets is the same, bit for bit."""
    other = replace(plan, core=tuple(map(min, core, plan.grid.shape)))
    assert other.starts == plan.starts
    assert_array_equal(blend(plan), blend(other))


def blend(plan: TilePlan) -> np.ndarray:
    """Sum of weight times a number made of the window's place, tile by tile."""
    result = np.full(plan.grid.shape, np.nan, np.float32)
    for tile in plan:
        total = np.zeros(tile.read.shape, np.float32)
        for place in product(*plan.windows(tile.core)):
            start = tuple(axis[i] for axis, i in zip(plan.starts, place, strict=True))
            weights = [axis[i] for axis, i in zip(plan.tapers, place, strict=True)]
            at = Box.of_shape(plan.window, start).relative_to(tile.read).slices
            total[at] += np.outer(*weights) * np.float32(1 + sum(place) % 7 / 3)
        result[tile.core.slices] = total[tile.core.relative_to(tile.read).slices]
    return result


@given(plans(longest=40))
def test_a_constant_model_gives_a_constant_map(plan: TilePlan) -> None:
    sums = []
    for axis, n in enumerate(plan.grid.shape):
        total = np.zeros(n)
        for start, weights in zip(plan.starts[axis], plan.tapers[axis], strict=True):
            low, high = max(start, 0), min(start + len(weights), n)
            total[low:high] += weights[low - start : high - start]
        sums.append(total)
    assert_allclose(np.outer(*sums), 1, atol=1e-6)


@given(plans(longest=60))
def test_seams_are_where_the_windows_change(plan: TilePlan) -> None:
    for axis, n in enumerate(plan.grid.shape):
        sets = [weighing(plan, axis, s) for s in range(n)]
        expected = [s for s in range(1, n) if sets[s] != sets[s - 1]]
        assert plan.seams(axis).tolist() == expected


@given(plans(longest=60))
def test_figures_are_counted_right(plan: TilePlan) -> None:
    counted = sum(sum(1 for _ in product(*plan.windows(tile.core))) for tile in plan[:300])
    lattice = prod(len(axis) for axis in plan.starts)
    if len(plan) <= 300:
        assert plan.planned == counted
        assert_allclose(plan.extra_work, counted / lattice - 1)
    one = replace(plan, core=plan.grid.shape)
    assert len(one) == 1
    assert one.planned == lattice
    assert one.extra_work == 0


def test_a_plan_is_a_sequence_of_tiles() -> None:
    plan = make_plan(Grid.local((100, 90)), TilingSpec(core=(40, 40)), UNET, 1, 1)
    assert len(plan) == 9
    assert plan[-1] == plan[8] == list(plan)[8]
    assert [t.index for t in plan[2:8:3]] == [2, 5]
    assert plan[8].core == Box((80, 80), (100, 90))
    with pytest.raises(IndexError, match="tile 9 of 9"):
        _ = plan[9]


# --------------------------------------------------------------------- making and keeping


@given(plans())
def test_json_keeps_the_plan(plan: TilePlan) -> None:
    again = TilePlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.to_dict() == plan.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"window": (32, 64)},
        {"stride": (40, 48)},
        {"margin": 4},
        {"taper": Taper.HANN},
        {"lattice": Lattice.EVEN},
        {"padding": "zero"},
        {"multiple": 4},
        {"core": (64, 100)},
        {"microbatch": 3},
        {"threads": 2},
        {"precision": "bf16"},
        {"grid": Grid.local((101, 100))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_sees_every_decision(change: dict[str, object]) -> None:
    plan = make_plan(Grid.local((100, 100)), TilingSpec(), UNET, 1, 1)
    assert replace(plan, **change).to_dict() != plan.to_dict()


@given(
    st.tuples(*[st.integers(1, 400)] * 2),
    st.sampled_from([1, 2, 8, 16, 32]),
    st.tuples(*[st.integers(1, 8)] * 2),
    st.integers(0, 200),
    st.booleans(),
    st.sampled_from(Lattice),
)
def test_the_defaults_suit_every_model(
    shape: tuple[int, int],
    multiple: int,
    window: tuple[int, int],
    margin: int,
    any_size: bool,
    lattice: Lattice,
) -> None:
    size = tuple(multiple * w for w in window)
    model = ModelShape(size, multiple, any_size, margin)
    plan = make_plan(Grid.local(shape), TilingSpec(lattice=lattice), model, 1, 1)
    assert all(w % multiple == 0 for w in plan.window)
    assert any_size or plan.window == size
    assert plan.margin in (0, margin)
    assert [len(axis) for axis in plan.tapers] == [len(axis) for axis in plan.starts]  # no gap


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TilingSpec(window=(64,)), "tiling.window needs 2 positive numbers"),
        (TilingSpec(stride=(0, 8)), "tiling.stride needs 2 positive numbers"),
        (TilingSpec(core=(64, 64, 64)), "tiling.core needs 2 positive numbers"),
        (TilingSpec(window=(60, 64)), "must be a multiple of 8"),
        (TilingSpec(stride=(12, 16)), "must be a multiple of 8"),
        (TilingSpec(stride=(72, 64)), "leaves gaps"),
        (TilingSpec(stride=(48, 48), margin=16), "leaves gaps"),
        (TilingSpec(margin=-1), "must not be negative"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(spec: TilingSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(Grid.local((500, 500)), spec, UNET, 1, 1)


def test_a_model_of_one_size_takes_no_other() -> None:
    model = replace(UNET, any_size=False)
    with pytest.raises(ConfigError, match=r"takes windows of \(64, 64\) only"):
        make_plan(Grid.local((500, 500)), TilingSpec(window=(32, 32)), model, 1, 1)


def test_a_window_shrinks_to_a_small_image() -> None:
    plan = make_plan(Grid.local((21, 500)), TilingSpec(), UNET, 1, 1)
    assert plan.window == (24, 64)
    assert make_plan(
        Grid.local((21, 500)), TilingSpec(), replace(UNET, any_size=False), 1, 1
    ).window == (64, 64)
