"""Normalising with torch, as on a GPU, gives numpy's numbers; and what counts as out of memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tiledseg.engine._lane import normalized_on, open_lane, out_of_memory
from tiledseg.normalize import Clip, Linear, Log, Normalization, SceneRange, SceneScore, Sigmoid

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
CHAINS = {
    "none": (),
    "linear": (Linear((0.01, 0.02, 0.03), (-1.0,)),),
    "clip": (Clip((10.0,), (200.0, 150.0, 90.0)),),
    "log": (Log(0.5),),
    "sigmoid": (Sigmoid(0.02, -1.0),),
    "chain": (Clip((5.0,), (250.0,)), Log(0.1), Linear((2.0,), (0.5,)), Sigmoid(1.5, -2.0)),
    "range": (SceneRange(2, 98),),
    "score": (SceneScore(),),
}


def samples(dtype: type) -> np.ndarray:
    """Return (3, rows, x), not contiguous: as a reader may hand it over."""
    return RNG.integers(0, 255, (3, 7, 2 * 31)).astype(dtype)[:, :, ::2]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("holes", [False, True])
def test_the_numbers_are_numpys(dtype: type, name: str, holes: bool) -> None:
    values = samples(dtype)
    valid = RNG.random(values.shape[1:]) > 0.3 if holes else np.ones(values.shape[1:], bool)
    normalization = Normalization(CHAINS[name]).fit(values[:, valid])
    expected = open_lane(normalization, CPU)(values, valid)
    found = normalized_on(normalization, values, valid, CPU)
    assert found.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)
    assert torch.equal(found[:, ~valid], expected[:, ~valid])


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("ONNX Runtime: Failed to allocate memory for requested buffer"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("cosmic ray"), False),
        (ValueError("memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, is_it: bool) -> None:
    assert out_of_memory(error) is is_it


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", CHAINS)
def test_the_gpus_lane_gives_numpys_numbers(name: str) -> None:
    values = samples(np.uint8)
    valid = RNG.random(values.shape[1:]) > 0.3
    normalization = Normalization(CHAINS[name]).fit(values[:, valid])
    expected = open_lane(normalization, CPU)(values, valid)
    found = open_lane(normalization, torch.device("cuda"))(values, valid)
    torch.testing.assert_close(found.cpu(), expected, rtol=2e-6, atol=2e-6)
