"""The way of samples to the model: normalised on the host, or copied first and then normalised.

On the CPU the reading thread normalises with numpy, beside the model. On a GPU it copies raw
samples, a quarter of the bytes for uint8, from pinned memory on a stream of its own and normalises
them there, so that copies and the model overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..normalize import Normalization

#: Takes raw samples (c, rows, *inner) and where they were measured (rows, *inner) to the model's
#: device, in model units, float32.
Lane = Callable[[NDArray[Any], NDArray[np.bool_]], torch.Tensor]

#: What torch, C++ libraries, CUDA and ONNX Runtime say.
_NO_MEMORY = (
    "can't allocate memory",
    "bad_alloc",
    "out of memory",
    "failed to allocate memory",
    "_status_alloc_failed",  # cuDNN, cuBLAS
)


def open_lane(normalization: Normalization, device: torch.device) -> Lane:
    """Return the lane to a device."""
    if device.type == "cuda":
        return _CudaLane(normalization, device)
    return lambda values, valid: torch.from_numpy(normalization(values, valid))


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream for copies, one for all runs: memory is kept for every stream."""
    return torch.cuda.Stream(device)


class _CudaLane:
    """Copies on a stream of its own; the reading thread waits for the samples, nobody else."""

    def __init__(self, normalization: Normalization, device: torch.device) -> None:
        self._normalization, self._device = normalization, device
        self._stream = _stream(device)

    def __call__(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> torch.Tensor:
        with torch.cuda.stream(self._stream), torch.inference_mode():
            x = normalized_on(self._normalization, values, valid, self._device)
        self._stream.synchronize()  # this is the reading thread: the model goes on meanwhile
        x.record_stream(torch.cuda.default_stream(self._device))  # not reused before it was read
        return x


def normalized_on(
    normalization: Normalization,
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    device: torch.device,
) -> torch.Tensor:
    """Return ``values`` in model units, normalised on ``device``; numpy's numbers within 2e-6."""
    x = _moved(np.ascontiguousarray(values), device).to(torch.float32)
    mask = None if valid.all() else _moved(valid, device)
    normalized: torch.Tensor = normalization.apply(x, mask, torch)
    return normalized


def _moved(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that host or device memory ran out, from whichever library."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return any(words in said for words in _NO_MEMORY)
