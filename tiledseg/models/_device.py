"""Where a network runs, and in how many threads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import ConfigError


def exact_device(name: str) -> torch.device:
    """Return a device on which float32 is float32, with the same bits every time.

    Raises:
        ConfigError: There is no such device.
    """
    device = find_device(name)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return device


def find_device(name: str) -> torch.device:
    """Return a device.

    Raises:
        ConfigError: There is no such device.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"runtime.device {name!r} cannot be used: choose cpu, cuda or cuda:N")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"runtime.device {name!r} cannot be used: {reason}") from None
    return device


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads for a while, in calls from this thread; None: as it is."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
