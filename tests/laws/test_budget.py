"""What a plan holds, by arithmetic: host and device are separate, and cores shrink to fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiledseg.budget import (
    Budget,
    Cost,
    check_core,
    device_bytes,
    fit_core,
    fits,
    parse_bytes,
    total_bytes,
)
from tiledseg.errors import BudgetExceeded, ConfigError
from tiledseg.grid import Grid
from tiledseg.planning import ModelShape, make_plan
from tiledseg.tiling import TilePlan, TilingSpec

GB = 10**9
COST = Cost(
    reserved=400_000_000, workspace=100_000_000, channels=3, itemsize=1, outputs=6, label_bytes=1
)
ON_DEVICE = replace(COST, device_workspace=500_000_000)


def planned(shape: tuple[int, ...], window: int) -> TilePlan:
    """Return a plan whose core is the whole image."""
    model = ModelShape((window,) * len(shape), 16, True, 0)
    return make_plan(Grid.local(shape), TilingSpec(), model, 1, 1)


SCENE, VOLUME = planned((20_000, 20_000), 512), planned((400, 512, 512), 96)


@pytest.mark.parametrize(
    ("text", "count"), [("6GB", 6 * GB), ("1.5 GB", 15 * GB // 10), ("512MB", 512 * 10**6)]
)
def test_bytes_as_people_write_them(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "many", "-1GB", "0", "1e99GB"])
def test_bytes_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_bytes(text)


@pytest.mark.parametrize("plan", [SCENE, VOLUME], ids=["scene", "volume"])
@given(host=st.integers(GB, 64 * GB), least=st.integers(1, 9))
def test_every_worker_has_a_tile(plan: TilePlan, host: int, least: int) -> None:
    alone, many = (fit_core(plan, COST, Budget(host), n) for n in (1, least))
    assert len(many) >= min(least, plan.grid.shape[0] // 128)
    assert many.core[1:] == alone.core[1:]
    assert total_bytes(many, COST) <= host
    assert len(many) == len(alone) or len(alone) < least  # no more than needed


def test_a_small_image_is_not_cut_to_pieces() -> None:
    assert len(fit_core(planned((300, 300), 64), COST, Budget(GB), 8)) <= 2


@pytest.mark.parametrize("plan", [SCENE, VOLUME], ids=["scene", "volume"])
@given(host=st.integers(GB, 64 * GB))
def test_the_core_that_is_taken_fits(plan: TilePlan, host: int) -> None:
    fitted = fit_core(plan, COST, Budget(host))
    assert total_bytes(fitted, COST) <= host
    assert fitted.core[0] == plan.grid.shape[0] or plan.grid.ndim == 2  # that axis costs nothing


@given(st.integers(1, 40), st.integers(1, 40))
def test_more_memory_never_means_a_smaller_core(one: int, other: int) -> None:
    low, high = sorted((GB + one * 50_000_000, GB + other * 50_000_000))
    small, large = (fit_core(SCENE, COST, Budget(host)) for host in (low, high))
    assert all(a <= b for a, b in zip(small.core[1:], large.core[1:], strict=True))


def test_many_classes_split_the_plane() -> None:
    """105 classes of 512 x 512 x 400 would hold 10 GB of scores a window deep."""
    cost = replace(COST, channels=1, itemsize=2, outputs=105, workspace=GB)
    fitted = fit_core(VOLUME, cost, Budget(4 * GB))
    assert fitted.core[0] == 400
    assert fitted.core[1] * fitted.core[2] < 512 * 512 / 4
    assert total_bytes(fitted, cost) <= 4 * GB


def test_host_and_device_are_counted_apart() -> None:
    plan = replace(SCENE, core=(2048, 2048))
    assert device_bytes(plan, COST) == 0
    assert device_bytes(plan, ON_DEVICE) > ON_DEVICE.device_workspace
    assert total_bytes(plan, ON_DEVICE) < total_bytes(plan, COST)  # rings are not on the host


def test_every_worker_holds_what_a_call_takes() -> None:
    plan = replace(SCENE, core=(2048, 2048))
    on = [replace(ON_DEVICE, workers=n, device_reserved=7) for n in (1, 2, 3)]
    one, two, three = (device_bytes(plan, cost) for cost in on)
    assert two - one == three - two == one - 7 > ON_DEVICE.device_workspace
    # On the host the first call was made in a thread that computes nothing.
    host = [total_bytes(plan, replace(COST, workers=n)) for n in (1, 2, 3)]
    assert host[1] - host[0] == host[2] - host[1] + COST.workspace


def test_stored_scores_cost_their_encoding() -> None:
    plan = replace(SCENE, core=(2048, 2048))
    stored = replace(COST, score_bytes=1)
    assert total_bytes(plan, stored) - total_bytes(plan, COST) > 2048 * 512 * COST.outputs


def test_the_device_alone_may_decide() -> None:
    roomy = fit_core(VOLUME, replace(ON_DEVICE, outputs=50), Budget(64 * GB, 80 * GB))
    tight = fit_core(VOLUME, replace(ON_DEVICE, outputs=50), Budget(64 * GB, 2 * GB))
    assert device_bytes(tight, replace(ON_DEVICE, outputs=50)) <= 2 * GB
    assert tight.core[1] * tight.core[2] < roomy.core[1] * roomy.core[2]


def test_a_device_that_is_too_small_is_named() -> None:
    with pytest.raises(BudgetExceeded, match=r"on the device, budget is .*budget.device_memory"):
        fit_core(VOLUME, ON_DEVICE, Budget(64 * GB, 400_000_000))


@pytest.mark.parametrize(
    ("shape", "after", "told"),
    [
        ((400, 512, 512), 2 * GB, r"\(2\.0 GB of it for a class map in memory and .*leave out"),
        ((400, 9000, 9000), 0, r"\(0 B of it .*\), budget is 1\.0 GB: raise budget\.memory$"),
    ],
)
def test_a_run_that_fits_but_for_its_end_says_so(
    shape: tuple[int, ...], after: int, told: str
) -> None:
    with pytest.raises(BudgetExceeded, match=told):
        fit_core(planned(shape, 96), replace(COST, after=after), Budget(GB))


def test_a_core_of_the_users_own_is_not_changed() -> None:
    plan = replace(SCENE, core=(2048, 2048))
    assert check_core(plan, COST, Budget(8 * GB)) is plan
    assert not fits(plan, COST, Budget(500_000_000))
    with pytest.raises(BudgetExceeded, match=r"raise budget\.memory"):
        check_core(plan, COST, Budget(500_000_000))
