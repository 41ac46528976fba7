"""Learning rates: a function of the step alone."""

from __future__ import annotations

from collections.abc import Iterable
from math import cos, pi

import torch
from torch import nn

from ._learning_spec import OptimizerSpec

#: Exponent of the polynomial schedule, as in nnU-Net and DeepLab.
_POWER = 0.9


def rate_at(spec: OptimizerSpec, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    Args:
        spec: The recipe's.
        step: Number of the step, from 0.
        steps: Of the whole training.

    >>> half = OptimizerSpec(rate=1.0, schedule="cosine", warmup=2)
    >>> [round(rate_at(half, step, 6), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < spec.warmup:
        return spec.rate * (step + 1) / spec.warmup
    done = (step - spec.warmup) / max(1, steps - spec.warmup)
    if spec.schedule == "poly":
        return float(spec.rate * (1 - done) ** _POWER)
    if spec.schedule == "cosine":
        return spec.rate * (1 + cos(pi * done)) / 2
    return spec.rate


def make_optimizer(
    spec: OptimizerSpec, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimiser of some parameters."""
    if spec.name == "sgd":
        return torch.optim.SGD(
            parameters, spec.rate, spec.momentum, weight_decay=spec.decay, nesterov=True
        )
    return torch.optim.AdamW(parameters, spec.rate, weight_decay=spec.decay)
