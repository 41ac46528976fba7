"""Memory that runs out in the middle: a smaller core and the same bytes, or one clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiledseg
from tiledseg.engine import TileDone, TileLost
from tiledseg.errors import BudgetExceeded
from tiledseg.models._torch import TorchModel

MakeModel = Callable[..., Path]
TILING = {"window": [64, 64], "core": [640, 1104]}
#: Far more than any address space holds: what is raised is what the allocator raises.
_FAR_TOO_MUCH = 1 << 58


def torch_runs_out() -> None:
    torch.empty(_FAR_TOO_MUCH)


def numpy_runs_out() -> None:
    np.empty(_FAR_TOO_MUCH, np.uint8)


def python_runs_out() -> None:
    bytearray(_FAR_TOO_MUCH)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Return a scene of several chunks of the work store."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 255, (3, 80, 138), np.uint8).repeat(8, 1).repeat(8, 2)


def failing(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any], turns: Callable[[int], bool]
) -> None:
    """Make the calls whose number ``turns`` says run out of memory; the first one calibrates."""
    healthy, calls = TorchModel.__call__, [0]

    def greedy(self: TorchModel, x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        if turns(calls[0]):
            act()
        return healthy(self, x)

    monkeypatch.setattr(TorchModel, "__call__", greedy)


def segment(image: np.ndarray, model: Path, events: list[Any] | None = None) -> Any:
    return tiledseg.segment(
        image,
        model,
        tiling=TILING,
        runtime={"runtime": "torch"},  # tries nothing out
        on_event=None if events is None else events.append,
    )


@pytest.mark.parametrize("act", [torch_runs_out, numpy_runs_out, python_runs_out])
@pytest.mark.parametrize("call", [2, 40], ids=["first window", "in the middle"])
def test_a_smaller_core_gives_the_same_bytes(
    image: np.ndarray,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[], Any],
    call: int,
) -> None:
    expected = segment(image, make_model())
    failing(monkeypatch, act, lambda n: n == call)
    events: list[Any] = []
    found = segment(image, make_model(), events)
    np.testing.assert_array_equal(found.array, expected.array)
    assert not found.ran.lost
    assert found.ran.evaluated > expected.ran.evaluated  # windows over the cut are evaluated twice
    (done,) = [e for e in events if isinstance(e, TileDone)]  # two halves are one tile
    assert done.receipt.tile == 0


def test_what_cannot_be_made_smaller_is_told_and_lost(
    image: np.ndarray, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, torch_runs_out, lambda n: n > 1)
    events: list[Any] = []
    found = segment(image, make_model(), events)
    (lost,) = [e for e in events if isinstance(e, TileLost)]
    assert "memory" in lost.reason
    assert "\n" not in lost.reason
    assert (found.array == 255).all()


def test_other_errors_are_not_tried_again(
    image: np.ndarray, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def breaks() -> None:
        seen.append(1)
        raise RuntimeError("cosmic ray")

    failing(monkeypatch, breaks, lambda n: n > 1)
    found = segment(image, make_model())
    assert len(seen) == 1
    assert "cosmic ray" in found.ran.lost[0]


def test_a_first_call_that_does_not_fit_is_refused(
    image: np.ndarray, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, torch_runs_out, lambda n: n == 1)
    with pytest.raises(BudgetExceeded, match=r"windows of \(64, 64\) a call.*lower"):
        segment(image, make_model())
