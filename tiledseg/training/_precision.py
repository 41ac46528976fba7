"""Arithmetic of the forward pass: what the recipe asks for, or what is faster here."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ._network import Learner

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: Passes that are timed, after one that is not.
_TIMED = 2
#: Share of the time of float32 below which another arithmetic is worth it.
_WORTH = 0.9


def casting(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return torch's autocast for a precision, or nothing for ``fp32``."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, _DTYPES[precision])


def choose_precision(
    wanted: str, device: torch.device, make: Callable[[], Learner], image: torch.Tensor
) -> str:
    """Return the precision to train with.

    Args:
        wanted: The recipe's.
        device: Where.
        make: Makes a network like the one to train, on the device.
        image: A batch, on the device.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    learner = make()
    times = {name: _time(learner, image, name) for name in ("fp32", "bf16")}
    return "bf16" if times["bf16"] < _WORTH * times["fp32"] else "fp32"


def _time(learner: Learner, image: torch.Tensor, precision: str) -> float:
    """Return the seconds of the fastest pass forwards and backwards."""
    times = []
    for _ in range(1 + _TIMED):
        began = time.perf_counter()
        with casting(precision, image.device):
            outputs = learner(image)
        total = torch.stack([raw.float().square().mean() for raw in outputs]).sum()
        total.backward()
        times.append(time.perf_counter() - began)
    return min(times[1:])
