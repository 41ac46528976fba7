"""Trials: agreement counted right, failures told, and every call a full microbatch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tiledseg.errors import DamagedInput
from tiledseg.labels import ClassSchema
from tiledseg.models import (
    AGREEMENT,
    Model,
    ModelCard,
    Runtime,
    Trial,
    class_maps,
    fastest_trial,
    try_out,
)

CARD = ModelCard(
    "trial", "tiledseg", "none", 2, ("c",), ClassSchema.of_names(["low", "high"]), (10, 10)
)
TRIAL = Trial(Runtime("openvino", "bf16"), 4, 0.25, 0.9995)


class Plain(Model):
    """Class 1 where the input is above 0; remembers what it was called with."""

    card = CARD
    device = torch.device("cpu")
    runtime = Runtime("torch")

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        self.calls: list[torch.Tensor] = []
        self._change = change

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(x.clone())
        raw = torch.cat([-x, x], dim=1)
        return raw if self._change is None else self._change(raw)


def windows(n: int) -> torch.Tensor:
    return torch.randn(n, 1, 10, 10, generator=torch.Generator().manual_seed(n))


def failing(error: Exception) -> Plain:
    def fail(raw: torch.Tensor) -> torch.Tensor:
        raise error

    return Plain(fail)


# --------------------------------------------------------------------- class maps


@pytest.mark.parametrize("microbatch", [1, 2, 3, 5, 8])
def test_class_maps_do_not_depend_on_the_microbatch(microbatch: int) -> None:
    x = windows(5)
    expected = (x[:, 0] > 0).to(torch.uint8)
    assert torch.equal(class_maps(Plain(), x, microbatch), expected)


@pytest.mark.parametrize(("n", "microbatch"), [(5, 2), (1, 4), (3, 3)])
def test_the_last_microbatch_is_filled_with_its_last_window(n: int, microbatch: int) -> None:
    model, x = Plain(), windows(n)
    class_maps(model, x, microbatch)
    assert {len(call) for call in model.calls} == {microbatch}
    given = torch.cat(model.calls)
    assert torch.equal(given[:n], x)
    assert all(torch.equal(filling, x[-1]) for filling in given[n:])


def test_the_activation_of_the_card_decides() -> None:
    """One output channel: a sigmoid above a half is a raw output above zero."""
    model = Plain(lambda raw: raw[:, 1:])
    model.card = replace(CARD, activation="sigmoid", single_output=True)
    x = windows(2)
    assert torch.equal(class_maps(model, x, 1), (x[:, 0] > 0).to(torch.uint8))


# --------------------------------------------------------------------- trying out


@pytest.mark.parametrize("wrong", [0, 7, 200])
def test_agreement_is_the_share_of_samples_with_the_same_class(wrong: int) -> None:
    x = windows(2)
    expected = (x[:, 0] > 0).to(torch.uint8)
    expected.view(-1)[:wrong] ^= 1
    assert try_out(Plain(), x, 2, expected).agreement == pytest.approx(1 - wrong / 200)


def test_filling_does_not_count_for_agreement() -> None:
    x = windows(3)
    expected = (x[:, 0] > 0).to(torch.uint8)
    expected[2] ^= 1  # the window that fills up the microbatch of 8
    assert try_out(Plain(), x, 8, expected).agreement == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("no\nroom"), "no room"),
        (MemoryError("no room"), "no room"),
        (MemoryError(), "MemoryError"),
        (DamagedInput("no room"), "no room"),
    ],
)
def test_a_model_that_fails_is_a_trial_with_a_problem(error: Exception, told: str) -> None:
    trial = try_out(failing(error), windows(2), 1, torch.zeros(2, 10, 10))
    assert trial == Trial(Runtime("torch"), 1, None, None, told)
    assert not trial.accepted


def test_a_fault_of_the_programme_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        try_out(failing(KeyError("typo")), windows(2), 1, torch.zeros(2, 10, 10))


def test_nan_agrees_with_no_class() -> None:
    """A float16 overflow is not class 0, though most of an image may be."""
    x = -windows(2).abs()
    expected = torch.zeros(2, 10, 10, dtype=torch.uint8)
    assert try_out(Plain(), x, 1, expected).agreement == 1
    assert not try_out(Plain(lambda raw: raw * float("nan")), x, 1, expected).accepted


def test_seconds_are_those_of_a_window_in_the_fastest_call() -> None:
    delays = iter([0.0, 0.2, 0.04, 0.2, 0.2, 0.2, 0.2])  # the first call makes the class maps

    def slow(raw: torch.Tensor) -> torch.Tensor:
        time.sleep(next(delays))
        return raw

    trial = try_out(Plain(slow), windows(4), 4, torch.zeros(4, 10, 10))
    assert 0.04 / 4 <= trial.seconds < 0.2 / 4


def test_a_trial_says_what_was_tried() -> None:
    model = Plain()
    model.runtime = Runtime("compiled", "bf16")
    trial = try_out(model, windows(2), 2, torch.zeros(2, 10, 10))
    assert (trial.runtime, trial.microbatch, trial.problem) == (("compiled", "bf16"), 2, "")


# --------------------------------------------------------------------- the record


def test_the_fastest_that_is_accepted_is_taken_else_the_first() -> None:
    failed = Trial.failed(Runtime("compiled"), 1, MemoryError())
    wrong, slow = replace(TRIAL, agreement=0.5, seconds=0.01), replace(TRIAL, seconds=1.0)
    assert fastest_trial([failed, wrong, slow, TRIAL]) is TRIAL
    assert fastest_trial([failed, wrong]) is failed


@pytest.mark.parametrize(
    ("agreement", "accepted"), [(1.0, True), (AGREEMENT, True), (AGREEMENT - 1e-9, False)]
)
def test_what_agrees_well_enough_is_accepted(agreement: float, accepted: bool) -> None:
    assert replace(TRIAL, agreement=agreement).accepted is accepted


@pytest.mark.parametrize(
    "trial",
    [TRIAL, Trial.failed(Runtime("torch"), 1, MemoryError("no room"))],
    ids=["done", "failed"],
)
def test_a_trial_survives_json(trial: Trial) -> None:
    found = Trial.from_dict(json.loads(json.dumps(trial.to_dict(), allow_nan=False)))
    assert found == trial
    assert isinstance(found.runtime, Runtime)


def test_values_of_something_else_are_refused() -> None:
    with pytest.raises(TypeError):
        Trial.from_dict({**TRIAL.to_dict(), "speed": 1})
