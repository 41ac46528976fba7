"""Laws of raw outputs -> scores -> the best channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tiledseg.models import activate, decide

law = settings(deadline=None, max_examples=60)
shapes = st.tuples(st.integers(2, 6), st.integers(1, 5), st.integers(1, 5))
raws = arrays(np.float32, shapes, elements=st.floats(-200, 200, width=32)).map(torch.from_numpy)
#: Few values, so that ties are everywhere.
tied = arrays(np.int64, shapes, elements=st.integers(-2, 2)).map(lambda a: torch.tensor(a).float())
kinds = pytest.mark.parametrize("kind", ["softmax", "sigmoid", "none"])


@law
@given(raws)
def test_softmax_scores_sum_to_one(raw: torch.Tensor) -> None:
    scores = activate(raw, "softmax")
    assert (scores >= 0).all()
    torch.testing.assert_close(scores.sum(0), torch.ones(raw.shape[1:]), rtol=0, atol=1e-6)


@law
@given(raws, st.floats(-50, 50, width=32))
def test_softmax_knows_differences_only(raw: torch.Tensor, shift: float) -> None:
    moved = activate(raw + shift, "softmax")
    torch.testing.assert_close(moved, activate(raw, "softmax"), rtol=0, atol=1e-4)


@law
@given(raws)
def test_sigmoid_looks_at_every_channel_alone(raw: torch.Tensor) -> None:
    expected = 1 / (1 + torch.exp(-raw.double()))
    torch.testing.assert_close(activate(raw, "sigmoid").double(), expected, rtol=1e-5, atol=1e-7)


@law
@given(raws)
def test_none_is_a_copy(raw: torch.Tensor) -> None:
    scores = activate(raw, "none")
    assert torch.equal(scores, raw)
    assert scores.data_ptr() != raw.data_ptr()


@kinds
@law
@given(raw=raws)
def test_the_raw_output_is_not_changed(kind: str, raw: torch.Tensor) -> None:
    before = raw.clone()
    activate(raw, kind)
    assert torch.equal(raw, before)


@law
@given(tied)
def test_the_first_of_the_best_channels_wins(scores: torch.Tensor) -> None:
    np.testing.assert_array_equal(decide(scores).numpy(), scores.numpy().argmax(axis=0))


@law
@given(tied)
def test_deciding_changes_no_score(scores: torch.Tensor) -> None:
    before = scores.clone()
    decide(scores)
    assert torch.equal(scores, before)


@law
@given(arrays(np.float32, (1, 4, 3), elements=st.floats(0, 1, width=32)))
def test_a_single_channel_is_one_above_a_half(scores: np.ndarray) -> None:
    found = decide(torch.from_numpy(scores))
    np.testing.assert_array_equal(found.numpy(), scores[0] > 0.5)


def test_exactly_a_half_is_not_above_it() -> None:
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    assert decide(torch.tensor([[0.5, above]])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("channels", "kind"), [(1, torch.uint8), (255, torch.uint8), (300, torch.int16)]
)
def test_many_channels_need_wider_indices(channels: int, kind: torch.dtype) -> None:
    found = decide(torch.arange(1.0, channels + 1)[:, None])
    assert found.dtype == kind
    assert found.tolist() == [channels - 1 or 1]
