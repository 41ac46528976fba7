"""Raw outputs -> scores -> the best channel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ._base import Activation


def activate(raw: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Return the scores of raw outputs (k, ...), a new tensor."""
    if activation == "softmax":
        return torch.softmax(raw, dim=0)
    return torch.sigmoid(raw) if activation == "sigmoid" else raw.clone()


def paint(scores: torch.Tensor, limits: NDArray[np.float32]) -> torch.Tensor:
    """Return 1 + the last channel of scores (k, ...) that exceeds its limit; 0 where none does."""
    index = torch.zeros(scores.shape[1:], dtype=torch.int16, device=scores.device)
    for channel in range(len(scores)):
        index.masked_fill_(scores[channel] > float(limits[channel]), channel + 1)
    return index


def admit(scores: torch.Tensor, limits: NDArray[np.float32]) -> torch.Tensor:
    """Return the best of the channels of scores (k, ...) that exceed their limits; k for none.

    Of equal scores the first channel wins.
    """
    best = torch.full(scores.shape[1:], -torch.inf, device=scores.device)
    index = torch.full(scores.shape[1:], len(scores), dtype=torch.int16, device=scores.device)
    for channel in range(len(scores)):
        better = (scores[channel] > float(limits[channel])) & (scores[channel] > best)
        index.masked_fill_(better, channel)
        best = torch.where(better, scores[channel], best)
    return index


def decide(scores: torch.Tensor) -> torch.Tensor:
    """Return the best channel of scores (k, ...) as uint8 or int16 indices; ties: the first.

    A single channel gives 1 where it exceeds 0.5. Compare and select, because `torch.argmax`
    promises nothing about ties.
    """
    if len(scores) == 1:
        return (scores[0] > 0.5).to(torch.uint8)
    best = scores[0].clone()
    kind = torch.uint8 if len(scores) < 256 else torch.int16
    index = torch.zeros(best.shape, dtype=kind, device=scores.device)
    for channel in range(1, len(scores)):
        better = scores[channel] > best
        index.masked_fill_(better, channel)
        torch.maximum(best, scores[channel], out=best)
    return index
