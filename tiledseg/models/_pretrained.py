"""Pretrained weights of encoders: read from files, spread over other input channels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..document import brief
from ..errors import ConfigError, DamagedInput
from ._foreign._state_dict import state_of


def read_encoder(path: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a file with pretrained weights.

    Args:
        path: A .safetensors file, or one of `torch.save` that holds tensors.

    Raises:
        ConfigError: There is no such file.
        DamagedInput: It holds something else, NaN or infinities. Nothing in it is run.
    """
    if not isinstance(path, str | os.PathLike) or not os.path.isfile(path):
        raise ConfigError(
            f"encoder_weights {brief(path)} is no file: give a .safetensors or .pth file with the "
            "encoder's weights; nothing is fetched"
        )
    state = state_of(Path(path))
    if wrong := [name for name, value in state.items() if not value.isfinite().all()]:
        raise DamagedInput(f"encoder_weights {path}: {wrong[0]} has NaN or infinities in it")
    return state


def spread(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Return the first convolution's weights for another number of input channels.

    Channels are repeated in turn and scaled so that a constant image keeps its size. The packages
    segmentation_models_pytorch and timm do the same.

    >>> spread(torch.tensor([[[1.0], [2.0], [3.0]]]), 6).flatten().tolist()
    [0.5, 1.0, 1.5, 0.5, 1.0, 1.5]

    Args:
        weight: (features, c, *kernel).
        channels: How many there are to be.
    """
    known = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight[:, [i % known for i in range(channels)]] * (known / channels)
