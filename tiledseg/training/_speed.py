"""How long a step takes on this machine: measured, because it cannot be known."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..models import create_model

#: Passes that are timed, after one that is not.
_TIMED = 1


def seconds_per_patch(
    architecture: Mapping[str, Any], window: tuple[int, ...], channels: int, classes: int
) -> float:
    """Return the seconds of a step per patch: forwards, backwards, weights moved.

    The faster of float32 and bf16 counts, as a training chooses it.

    Args:
        architecture: As a card names it.
        window: Extent of a patch.
        channels: In.
        classes: Out.
    """
    arguments = dict(architecture)
    name = arguments.pop("name")
    with torch.random.fork_rng(devices=()):
        network = create_model(
            name, channels=channels, classes=classes, dims=len(window), **arguments
        )
        patches = torch.randn(2, channels, *window)
    return min(_seconds(network, patches, half) for half in (False, True)) / len(patches)


def _seconds(network: nn.Module, patches: torch.Tensor, half: bool) -> float:
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)
    times = []
    for _ in range(1 + _TIMED):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            scores = network(patches)
        scores.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return min(times[1:])
