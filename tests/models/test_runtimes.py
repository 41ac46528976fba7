"""Every way the CPU has to run a model keeps the contract of `Model` and agrees with the reference.

Scores in float32 differ from the reference's by rounding only, 1e-5; in bf16 by at most 0.05, and
98 of 100 samples of this network, whose random weights leave much undecided, keep their class.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tiledseg.labels import ClassSchema
from tiledseg.models import Model, ModelCard, Runtime, load_model, reference, runtimes

MakeModel = Callable[..., Path]

SHAPES = {2: ((32, 48), (64, 40), (18, 22)), 3: ((8, 16, 12), (12, 10, 24), (6, 10, 14))}


#: torch imports parts of itself that it calls deprecated, once it compiles.
COMPILED = (
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
)


def _ways() -> list[object]:
    """Return every (axes, runtime) that is installed; what is compiled is slow."""
    params = []
    for dims in (2, 3):
        schema = ClassSchema.of_names(["a", "b"])
        card = ModelCard("any", "tiledseg", "none", dims, ("c",), schema, (8,) * dims)
        for way in runtimes(card, "cpu"):
            marks = COMPILED if way.name == "compiled" else ()
            params.append(pytest.param((dims, way), id=f"{dims}-D {way}", marks=marks))
    return params


class Subject(NamedTuple):
    """A model in one runtime, and in its reference."""

    model: Model
    plain: Model
    way: Runtime

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return SHAPES[self.model.card.dims]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return a copy of the model's answer, on one thread as the engine asks for it."""
        torch.set_num_threads(1)
        return self.model(x).clone()


@pytest.fixture(scope="module", params=_ways())
def subject(request: pytest.FixtureRequest, make_model: MakeModel) -> Subject:
    dims, way = request.param
    folder = make_model(dims)
    plain = load_model(folder)
    assert plain.runtime == reference(plain.card)
    return Subject(load_model(folder, threads=1, runtime=way), plain, way)


def images(n: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Return blocks with noise on them, (n, 3, *shape), -1 to 1.5 as a normalised image has."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (n, 3, *(s // 7 + 1 for s in shape)))
    for axis in range(2, coarse.ndim):
        coarse = coarse.repeat(7, axis)
    cut = coarse[(..., *(slice(s) for s in shape))]
    return torch.from_numpy((cut + rng.integers(0, 50, cut.shape)).astype(np.float32) / 100 - 1)


def scores(raw: torch.Tensor) -> torch.Tensor:
    return torch.softmax(raw, dim=1)


def assert_agrees(way: Runtime, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare raw outputs as far as the precision promises."""
    tolerance, share = (1e-5, 0.9999) if way.precision == "fp32" else (0.05, 0.98)
    torch.testing.assert_close(scores(found), scores(expected), rtol=0, atol=tolerance)
    same = (found.argmax(1) == expected.argmax(1)).float().mean()
    assert same >= share
    assert len(expected.argmax(1).unique()) > 1, "one class everywhere shows nothing"


def test_scores_agree_with_the_reference(subject: Subject) -> None:
    x = images(3, subject.shapes[0])
    assert_agrees(subject.way, subject(x), subject.plain(x))


def test_it_says_what_it_is(subject: Subject) -> None:
    assert subject.model.runtime == subject.way
    assert subject.model.card == subject.plain.card
    assert subject.model.device == torch.device("cpu")


def test_float32_comes_out_contiguous(subject: Subject) -> None:
    raw = subject.model(images(2, subject.shapes[0]))
    assert raw.dtype == torch.float32
    assert raw.shape == (2, 4, *subject.shapes[0])
    assert raw.is_contiguous()


@pytest.mark.parametrize("dims", [2, 3])
def test_bf16_is_not_float32_by_another_name(make_model: MakeModel, dims: int) -> None:
    """In torch; OpenVINO may take float32 where a CPU has no bfloat16."""
    x = images(1, SHAPES[dims][0])
    model = load_model(make_model(dims), runtime=Runtime("torch", "bf16"))
    plain = load_model(make_model(dims))
    assert (scores(model(x)) - scores(plain(x))).abs().max() > 1e-4


def test_the_same_input_twice_gives_the_same_bits(subject: Subject) -> None:
    x = images(3, subject.shapes[0])
    assert torch.equal(subject(x), subject(x))


def test_neighbours_and_place_in_the_microbatch_change_no_bit(subject: Subject) -> None:
    shape = subject.shapes[2]  # no whole number of vector registers
    sample, others = images(1, shape), images(4, shape, seed=1)
    outputs = [
        subject(torch.cat([rest[:place], sample, rest[place:]]))[place]
        for place in range(3)
        for rest in (others[:2], others[2:] * 1000)
    ]
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def test_threads_at_once_get_the_same_bits(subject: Subject) -> None:
    inputs = [images(2, subject.shapes[0], seed) for seed in range(12)]
    expected = [subject(x) for x in inputs]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(subject, inputs))
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("subject", [w for w in _ways() if "compiled" in str(w)], indirect=True)
def test_torch_compiles_on_in_every_thread(subject: Subject) -> None:
    """Past its limit of 8 shapes torch would go on uncompiled, which gives other bits."""

    def limits() -> tuple[int, int]:
        subject(images(1, subject.shapes[0]))
        config = torch._dynamo.config
        return config.recompile_limit, config.accumulated_recompile_limit

    with ThreadPoolExecutor(1) as pool:
        assert min(pool.submit(limits).result()) >= 4096


def test_a_result_outlives_the_calls_of_other_threads(subject: Subject) -> None:
    """Only the same thread's next call may overwrite it."""
    mine = subject.model(images(2, subject.shapes[0]))
    kept = mine.clone()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(subject, images(2, subject.shapes[0], seed=1)).result()
    assert torch.equal(mine, kept)


def test_one_model_takes_windows_of_several_shapes(subject: Subject) -> None:
    first = subject(images(3, subject.shapes[0]))
    for shape in subject.shapes[1:]:
        x = images(2, shape)
        assert_agrees(subject.way, subject(x), subject.plain(x))
    assert torch.equal(subject(images(3, subject.shapes[0])), first)


def test_the_input_is_not_changed(subject: Subject) -> None:
    x = images(2, subject.shapes[0])
    before = x.clone()
    subject(x)
    assert torch.equal(x, before)


def test_a_view_of_an_image_is_as_good_as_a_copy(subject: Subject) -> None:
    """Test-time augmentation turns windows, which leaves them out of line in memory."""
    x = images(2, subject.shapes[0])
    turned = x.flip(-1).transpose(-1, -2).contiguous().transpose(-1, -2)
    assert not turned.is_contiguous()
    assert torch.equal(subject(turned), subject(x.flip(-1)))


def test_the_reference_comes_first_and_is_float32() -> None:
    schema = ClassSchema.of_names(["a", "b"])
    for kind, name in (("tiledseg", "torch"), ("onnx", "onnxruntime")):
        card = ModelCard("any", kind, "none", 2, ("c",), schema, (8, 8))
        assert runtimes(card, "cpu")[0] == reference(card) == (name, "fp32")
