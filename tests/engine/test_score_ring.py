"""Two rings of scores, one law: compiled loops on the host, whole-window steps as on a GPU."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tiledseg.box import Box
from tiledseg.engine._device_ring import DeviceRing
from tiledseg.engine._host_ring import HostRing
from tiledseg.engine._score_ring import ScoreRing
from tiledseg.grid import Grid
from tiledseg.models import Activation
from tiledseg.planning import ModelShape, make_plan
from tiledseg.taper import Taper
from tiledseg.tiling import TilePlan, TilingSpec

CPU = torch.device("cpu")
CASES = {
    2: ((90, 77), (32, 32), (24, 16)),
    3: ((30, 26, 28), (12, 12, 12), (6, 8, 6)),
}


def planned(dims: int, **wishes: str) -> TilePlan:
    shape, window, stride = CASES[dims]
    spec = TilingSpec(window=window, stride=stride, **{"taper": Taper.GAUSSIAN, **wishes})
    return make_plan(Grid.local(shape), spec, ModelShape(window, 2, True, 0), 1, 2)


def rings(plan: TilePlan, core: Box, outputs: int, activation: Activation) -> list[ScoreRing]:
    shape = (outputs + (plan.weight_map is not None), plan.window[0], *core.shape[1:])
    return [
        kind(plan, core, torch.from_numpy(np.zeros(shape, np.float32)), activation)
        for kind in (HostRing, DeviceRing)
    ]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
@pytest.mark.parametrize("outputs", [1, 5])
@pytest.mark.parametrize("taper", [Taper.GAUSSIAN, Taper.MONAI])
@pytest.mark.parametrize("blend", ["scores", "logits"])
def test_both_give_the_same_scores_and_labels(
    dims: int, activation: Activation, outputs: int, taper: Taper, blend: str
) -> None:
    plan = planned(dims, taper=taper, blend=blend)
    core = Box((0,) * dims, plan.grid.shape)
    labels = np.arange(max(2, outputs), dtype=np.uint8) * 3
    generator = torch.Generator().manual_seed(1)
    host, device = rings(plan, core, outputs, activation)
    rest = [range(len(axis)) for axis in plan.starts[1:]]
    done = 0
    with host, device:
        for place in range(len(plan.starts[0])):
            for inner in np.ndindex(*map(len, rest)):
                where = (place, *inner)
                raw = torch.randn((outputs, *plan.window), generator=generator) * 3
                for ring in (host, device):
                    if sum(where) % 5 == 4:
                        ring.add_certain(0 if outputs > 1 else None, where)
                    else:
                        ring.add(raw, where)
            last = place + 1 == len(plan.starts[0])
            stop = plan.grid.shape[0] if last else plan.starts[0][place + 1]
            for one, other in zip(
                host.take(done, stop, labels), device.take(done, stop, labels), strict=True
            ):
                assert one.rows == other.rows
                torch.testing.assert_close(one.scores, other.scores, rtol=1e-5, atol=1e-6)
                assert (one.labels == other.labels).mean() > 0.999
                if activation != "none":
                    assert float(one.scores.max()) <= 1 + 1e-5
                if activation == "softmax" and outputs > 1:
                    sums = one.scores.sum(0)
                    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-5)
            done = stop
    assert math.isclose(float(host.scores.abs().max()), 0)  # all that was taken is emptied


@pytest.mark.parametrize("kind", [0, 1], ids=["host", "device"])
def test_what_is_not_finite_is_told_only_where_it_counts(kind: int) -> None:
    plan = planned(2)
    core = Box((0, 0), (90, 40))  # the windows at the right stick out of the core
    labels = np.arange(5, dtype=np.uint8)
    where = (0, 1)
    (low,) = (plan.starts[1][where[1]],)
    outside = 40 - low
    assert 0 < outside < 32
    raw = torch.zeros((5, *plan.window))
    raw[:, :, outside:] = math.nan
    ring = rings(plan, core, 5, "softmax")[kind]
    with ring:
        ring.add(raw, where)
        assert list(ring.take(0, 1, labels))
        raw[2, 3, 0] = math.inf
        ring.add(raw, where)
        with pytest.raises(FloatingPointError, match="NaN or infinity"):
            list(ring.take(1, 2, labels))
