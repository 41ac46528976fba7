"""Views of the input and ensembles: which views there are, and that their mean is a mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiledseg.errors import ConfigError
from tiledseg.labels import ClassSchema
from tiledseg.models import Model, ModelCard, Runtime, combine, load_model, turns_of
from tiledseg.models._combine import Turn
from tiledseg.normalize import Linear, Normalization

MakeModel = Callable[..., Path]

law = settings(deadline=None, max_examples=60)
PLAIN = turns_of((), False, 2)
CARD = ModelCard(
    "made up",
    "tiledseg",
    "none",
    2,
    ("c0", "c1"),
    ClassSchema.of_names(["a", "b", "c"]),
    (8, 8),
    sha256="1",
)


class Made(Model):
    """A network written down here."""

    device = torch.device("cpu")

    def __init__(self, answer: Callable[[torch.Tensor], torch.Tensor], **changes: Any) -> None:
        self.card = replace(CARD, **changes)
        self._answer = answer

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._answer(x)


def pointwise(x: torch.Tensor) -> torch.Tensor:
    """Look at every sample alone: turning the input turns the output."""
    return torch.stack([x[:, 0] * 2, x[:, 1] - 1, x[:, 0] * x[:, 1]], dim=1)


def leaning(x: torch.Tensor) -> torch.Tensor:
    """Look at the neighbour above and at that on the left: turning changes the output."""
    return torch.stack([x[:, 0], x[:, 1].roll(1, -1), x[:, 0].roll(1, -2) * 3], dim=1)


def images(n: int, *shape: int, channels: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, channels, *shape, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------- views


@pytest.mark.parametrize(
    ("mirror", "quarters", "dims", "count"),
    [
        ((), False, 2, 1),
        ((1,), False, 2, 2),
        ((0, 1), False, 2, 4),
        ((), True, 2, 4),
        ((0,), True, 2, 8),
        ((0, 1), True, 2, 8),
        ((0, 0), False, 2, 2),
        ((), False, 3, 1),
        ((0, 1, 2), False, 3, 8),
        ((), True, 3, 4),
        ((0,), True, 3, 8),
        ((1, 2), True, 3, 8),
        ((0, 1, 2), True, 3, 16),
    ],
)
def test_every_view_is_taken_once(
    mirror: tuple[int, ...], quarters: bool, dims: int, count: int
) -> None:
    turns = turns_of(mirror, quarters, dims)
    x = images(1, *(5,) * dims)
    views = {turn.apply(x).contiguous().numpy().tobytes() for turn in turns}
    assert len(turns) == len(views) == count


@pytest.mark.parametrize("dims", [2, 3])
def test_the_plain_view_comes_first(dims: int) -> None:
    assert turns_of(tuple(range(dims)), True, dims)[0] == Turn(0, ())


def test_mirroring_turns_the_named_axis_of_the_image() -> None:
    x = images(1, 3, 4, 5)
    _, turned = (turn.apply(x) for turn in turns_of((0,), False, 3))
    assert torch.equal(turned, x.flip(2))


def test_quarter_turns_stay_in_the_plane_of_the_last_axes() -> None:
    x = images(1, 3, 4, 4)
    views = [turn.apply(x) for turn in turns_of((), True, 3)]
    for quarters, view in enumerate(views):
        assert torch.equal(view, torch.rot90(x, quarters, (3, 4)))


@pytest.mark.parametrize(("axis", "dims"), [(2, 2), (3, 3), (-1, 2)])
def test_an_axis_that_is_not_there_is_refused(axis: int, dims: int) -> None:
    told = rf"combine.mirror \[{axis}\]: a {dims}-D image has axes 0 to {dims - 1}"
    with pytest.raises(ConfigError, match=told):
        turns_of((axis,), False, dims)


@law
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=3).flatmap(
        lambda shape: st.tuples(
            st.just(tuple(shape)), st.sets(st.integers(0, len(shape) - 1)), st.integers(0, 3)
        )
    )
)
def test_a_turn_undone_is_the_image(case: tuple[tuple[int, ...], set[int], int]) -> None:
    shape, mirrored, quarters = case
    x = images(2, *shape)
    turn = Turn(quarters, tuple(sorted(mirrored)))
    assert torch.equal(turn.undo(turn.apply(x)), x)
    assert torch.equal(turn.apply(turn.undo(x)), x)


# --------------------------------------------------------------------- means


def test_one_model_in_its_plain_view_is_itself() -> None:
    model = Made(pointwise)
    assert combine([model], PLAIN, "scores") is model


@pytest.mark.parametrize("average", ["scores", "logits"])
def test_a_network_that_turns_with_its_input_gains_nothing(average: Any) -> None:
    x = images(2, 8, 8)
    combined = combine([Made(pointwise)], turns_of((0, 1), True, 2), average)
    plain = torch.softmax(pointwise(x), 1) if average == "scores" else pointwise(x)
    torch.testing.assert_close(combined(x), plain, rtol=1e-6, atol=1e-6)


def test_mirrored_views_are_averaged_in_scores() -> None:
    x = images(2, 8, 6)
    views = [(), (2,), (3,), (2, 3)]
    expected = sum(torch.softmax(leaning(x.flip(v)), 1).flip(v) for v in views) / 4
    found = combine([Made(leaning)], turns_of((0, 1), False, 2), "scores")(x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found, torch.softmax(leaning(x), 1), atol=1e-2)


def test_turned_views_are_averaged_in_logits() -> None:
    x = images(2, 8, 8)
    plane = (-2, -1)
    views = [torch.rot90(leaning(torch.rot90(x, q, plane)), -q, plane) for q in range(4)]
    found = combine([Made(leaning)], turns_of((), True, 2), "logits")(x)
    torch.testing.assert_close(found, sum(views) / 4, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_two_models_are_their_mean_after_the_activation_of_each(activation: Any) -> None:
    x = images(2, 8, 8)
    apply = {"softmax": lambda r: r.softmax(1), "sigmoid": torch.sigmoid, "none": lambda r: r}
    found = combine([Made(pointwise, activation=activation), Made(leaning)], PLAIN, "scores")(x)
    expected = (apply[activation](pointwise(x)) + leaning(x).softmax(1)) / 2
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("average", "activation"), [("scores", "none"), ("logits", "softmax")])
def test_the_activation_is_never_applied_twice(average: Any, activation: str) -> None:
    assert combine([Made(leaning)] * 2, PLAIN, average).card.activation == activation


def test_a_member_may_overwrite_its_last_answer() -> None:
    """As exported graphs do: the mean is gathered before the next call."""
    buffer = torch.empty(2, 3, 8, 8)
    model = Made(lambda x: buffer.copy_(leaning(x)))
    turns, x = turns_of((0, 1), False, 2), images(2, 8, 8)
    for average in ("scores", "logits"):
        found = combine([model, model], turns, average)(x)
        assert torch.equal(found, combine([Made(leaning)] * 2, turns, average)(x))


def test_the_input_is_not_changed() -> None:
    x = images(2, 8, 8)
    combine([Made(leaning)], turns_of((0, 1), True, 2), "scores")(x)
    assert torch.equal(x, images(2, 8, 8))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("shape", [(18, 22), (126, 130), (6, 10, 14)], ids=str)
def test_neighbours_and_place_in_the_microbatch_change_no_bit(
    shape: tuple[int, ...], activation: Any
) -> None:
    """In no shape: vector instructions must not run over the border between two samples."""
    torch.set_num_threads(1)
    turns = turns_of((0, 1), False, len(shape))
    model = combine([Made(leaning, activation=activation)], turns, "scores")
    for seed in range(5):
        sample, others = images(1, *shape, seed=seed), images(4, *shape, seed=9)
        outputs = [
            model(torch.cat([rest[:place], sample, rest[place:]]))[place]
            for place in range(3)
            for rest in (others[:2], others[2:] * 1000)
        ]
        assert all(torch.equal(output, outputs[0]) for output in outputs)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_exported_members_average_as_torch_does(make_model: MakeModel, runtime: Any) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip(runtime)
    x, turns = images(2, 32, 32, channels=3), turns_of((0, 1), True, 2)
    folders = [make_model(), make_model(margin=1)]
    expected = combine([load_model(f) for f in folders], turns, "scores")(x)
    members = [load_model(f, runtime=Runtime(runtime)) for f in folders]
    torch.testing.assert_close(combine(members, turns, "scores")(x), expected, rtol=0, atol=1e-5)


# --------------------------------------------------------------------- cards


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dims", 3),
        ("channels", ("c0", "c9")),
        ("schema", ClassSchema.of_names(["a", "b", "z"])),
        ("schema", ClassSchema.of_names(["a", "b"])),
        ("normalization", Normalization((Linear((2.0,), (0.0,)),))),
        ("orientation", "RAS"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(name: str, value: Any) -> None:
    members: list[Model] = [Made(leaning), Made(leaning, name="other", **{name: value})]
    told = f"models 'made up' and 'other' cannot be averaged: their {name} differ"
    with pytest.raises(ConfigError, match=told):
        combine(members, PLAIN, "scores")


def test_logits_of_different_activations_have_no_mean() -> None:
    members: list[Model] = [Made(leaning), Made(leaning, name="other", activation="sigmoid")]
    combine(members, PLAIN, "scores")
    with pytest.raises(ConfigError, match=r"'made up' and 'other' .* activation"):
        combine(members, PLAIN, "logits")


def test_models_of_one_window_each_need_the_same() -> None:
    fixed = [Made(leaning, any_size=False, window=w) for w in ((8, 8), (16, 16))]
    with pytest.raises(ConfigError, match=r"'made up' .* window"):
        combine(list(fixed), PLAIN, "scores")


@pytest.mark.parametrize("first", [0, 1])
def test_a_member_of_one_window_decides_it(first: int) -> None:
    members: list[Model] = [
        Made(leaning, window=(16, 16)),
        Made(leaning, window=(8, 8), any_size=False),
    ]
    card = combine([members[first], members[1 - first]], PLAIN, "scores").card
    assert (card.window, card.any_size) == ((8, 8), False)


def test_the_mean_is_as_demanding_as_its_members() -> None:
    one = Made(leaning, multiple=4, margin=9, locality="local")
    two = Made(leaning, multiple=6, margin=12, locality="unknown", name="two")
    card = combine([one, two], PLAIN, "scores").card
    assert (card.multiple, card.margin, card.locality) == (12, 12, "unknown")
    assert card.name == "made up + two"


def test_what_is_averaged_is_part_of_the_identity() -> None:
    """Unfinished work of one mean must not be finished by another."""
    one, two = Made(leaning), Made(leaning, sha256="2")
    flips, turns = turns_of((0,), False, 2), turns_of((), True, 2)
    cases = [
        ([one], flips, "scores"),
        ([one], flips, "logits"),
        ([one], turns, "scores"),
        ([one, one], flips, "scores"),
        ([one, two], flips, "scores"),
        ([one, two], PLAIN, "scores"),
    ]
    found = {combine(list(m), t, a).card.sha256 for m, t, a in cases}
    assert len(found) == len(cases)


def test_quarter_turns_need_windows_as_high_as_wide() -> None:
    model = combine([Made(leaning, any_size=False)], turns_of((), True, 2), "scores")
    with pytest.raises(ConfigError, match=r"combine.quarter_turns needs .* got \(8, 6\)"):
        model(images(1, 8, 6))


def test_half_turns_do_not() -> None:
    """Mirroring both axes is half a turn, and fits any window."""
    x = images(1, 8, 6)
    assert combine([Made(leaning)], turns_of((0, 1), False, 2), "scores")(x).shape == (1, 3, 8, 6)
