"""The processes of one training: alone, or those that torch's launcher (`torchrun`) started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..models import find_device

#: How long processes wait for one that validates.
_PATIENCE = timedelta(days=2)
#: Seconds in which the group's threads have let go of what they worked on.
_SETTLED = 0.5


@dataclass(frozen=True)
class World:
    """This process among those of a training.

    Args:
        rank: Its number.
        size: How many there are.
        device: What it computes on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and validates."""
        return self.rank == 0

    def wrap(self, learner: nn.Module) -> nn.Module:
        """Return a network whose gradients are averaged over the processes."""
        if self.size == 1:
            return learner
        places = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(learner, device_ids=places)

    def largest(self, number: int) -> int:
        """Return the largest of the processes' numbers."""
        if self.size == 1:
            return number
        held = torch.tensor([number], device=self.device)
        dist.all_reduce(held, dist.ReduceOp.MAX)
        return int(held.item())

    def share(self, value: Any) -> Any:
        """Return the first process' value, JSON-like, in all."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, 0, device=self.device)
        return held[0]


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that were started together; alone where none were.

    Args:
        device: ``cpu``, ``cuda`` (under a launcher, the process' own GPU) or ``cuda:N``.

    Raises:
        ConfigError: There is no such device.
    """
    size, rank = (int(os.environ.get(name, "0") or 0) for name in ("WORLD_SIZE", "RANK"))
    if size > 1 and device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    place = find_device(device)
    if size < 2:
        yield World(0, 1, place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield World(rank, size, place)
    finally:
        # Without the pause a process hung at its end, now and then (gloo, torch 2.13): its threads
        # seem to need the interpreter to let go of the last tensors, and destroying waits for them.
        time.sleep(_SETTLED)
        dist.destroy_process_group()
