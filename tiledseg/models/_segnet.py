"""SegNet: a VGG encoder, and a decoder that puts values back to where the maxima were.

Badrinarayanan, Kendall and Cipolla, "SegNet: a deep convolutional encoder-decoder architecture for
image segmentation", PAMI 2017; the encoders are those of Simonyan and Zisserman, "Very deep
convolutional networks for large-scale image recognition", 2015, with batch norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..document import brief
from ..errors import ConfigError
from ._pretrained import read_encoder, spread

#: Convolutions before each of the five poolings.
_ENCODERS = {
    "vgg11_bn": (1, 1, 2, 2, 2),
    "vgg13_bn": (2, 2, 2, 2, 2),
    "vgg16_bn": (2, 2, 3, 3, 3),
    "vgg19_bn": (2, 2, 4, 4, 4),
}
_FEATURES = (64, 128, 256, 512, 512)
_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class SegNet(nn.Module):
    """Five poolings, and five unpoolings that use their indices.

    Args:
        dims: 2 or 3 spatial axes.
        channels: Input channels.
        classes: Output channels.
        encoder: ``vgg11_bn``, ``vgg13_bn``, ``vgg16_bn`` (SegNet's own) or ``vgg19_bn``.
        features: Channels of the five stages.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        classes: int,
        encoder: str = "vgg16_bn",
        features: Sequence[int] = _FEATURES,
    ) -> None:
        super().__init__()
        counts = _ENCODERS[encoder]
        taken = (channels, *features)
        self.encoder = nn.ModuleList(
            _stage(dims, [taken[i], *(features[i],) * count]) for i, count in enumerate(counts)
        )
        stages = [
            _stage(dims, [*(features[i],) * count, features[max(i - 1, 0)]])
            for i, count in reversed(list(enumerate(counts)))
        ]
        last: nn.Module = _CONVOLUTIONS[dims](features[0], classes, 3, padding=1)
        self.decoder = nn.ModuleList([*stages[:-1], nn.Sequential(*list(stages[-1])[:-3], last)])
        self._pool = functional.max_pool2d if dims == 2 else functional.max_pool3d

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw scores (n, classes, *s) for (n, channels, *s) of any extents."""
        shapes, places = [], []
        for stage in self.encoder:
            x = stage(x)
            shapes.append(x.shape)
            x, indices = self._pool(x, 2, return_indices=True)
            places.append(indices)
        for stage in self.decoder:
            x = stage(_unpool(x, places.pop(), shapes.pop()))
        return x


def _unpool(x: torch.Tensor, places: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return zeros of a shape (n, c, *s) with values put to flat places among s.

    What torch's own unpooling does, in operations that ONNX has, and that are deterministic.
    """
    zeros = x.new_zeros((*shape[:2], prod(shape[2:])))
    return zeros.scatter(2, places.flatten(2), x.flatten(2)).view(shape)


def _stage(dims: int, features: Sequence[int]) -> nn.Sequential:
    """Return convolutions of extent 3 with batch norm from each number of channels to the next."""
    layers: list[nn.Module] = []
    for taken, given in pairwise(features):
        layers += [
            _CONVOLUTIONS[dims](taken, given, 3, padding=1),
            _NORMS[dims](given),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def defaults(name: str) -> dict[str, Any]:
    """Return what SegNet takes, with the defaults."""
    return {"features": _FEATURES, "encoder_weights": None}


def multiple(name: str, dims: int, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what input extents must be multiples of, per axis."""
    return (2 ** len(_FEATURES),) * dims


def build(
    name: str, dims: int, channels: int, classes: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Return a network; ``encoder_weights`` are torchvision's of the same VGG (2-D).

    Raises:
        ConfigError: There is no such encoder, or the file does not fit it.
        DamagedInput: The file holds no tensors.
    """
    given = dict(arguments)
    encoder, weights = given["encoder"], given.pop("encoder_weights", None)
    if encoder not in _ENCODERS:
        raise ConfigError(
            f"architecture {name!r} has no encoder {brief(encoder)}: choose one of "
            f"{', '.join(_ENCODERS)}"
        )
    network = SegNet(dims, channels, classes, **given)
    if weights is not None:
        _load(network.encoder, read_encoder(weights), channels, weights)
    return network


def _load(
    encoder: nn.ModuleList, state: dict[str, torch.Tensor], channels: int, path: object
) -> None:
    """Give an encoder the weights of a VGG, whose layers are numbered through, poolings included.

    Raises:
        ConfigError: They do not fit.
    """
    renamed, number = {}, 0
    for i, stage in enumerate(encoder):
        for j in range(len(stage)):  # type: ignore[arg-type]  # a Sequential
            prefix = f"features.{number}."
            for key in [k for k in state if k.startswith(prefix)]:
                renamed[f"{i}.{j}.{key.removeprefix(prefix)}"] = state[key]
            number += 1
        number += 1
    try:
        renamed["0.0.weight"] = spread(renamed["0.0.weight"], channels)
        encoder.load_state_dict(renamed)
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"encoder_weights {path} do not fit the encoder: {reason}") from None
