"""A light U-Net of separable convolutions, as cloud masks of satellite images use it.

Structure and names of weights are those of the networks of Lopez-Puigdollers, Mateo-Garcia and
Gomez-Chova, "Benchmarking deep learning models for cloud detection in Landsat-8 and Sentinel-2
images", Remote Sensing 13(5), 2021, as IPL-UV/DL-L8S2-UV publishes them: about 96,000 parameters
with the defaults.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

#: Epsilon of Keras' batch norm, which the published weights were trained with.
_EPS = 1e-3
_DEFAULTS: dict[str, Any] = {"features": (32, 64, 128)}


class _Convolution(nn.Module):
    """A 3 x 3 convolution of every channel, a 1 x 1 one over them, norm and ReLU."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(taken, taken, 3, padding=1, groups=taken, bias=False)
        self.pw = nn.Conv2d(taken, given, 1)
        self.bn = nn.BatchNorm2d(given, eps=_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.pw(self.dw(x))))


class _Block(nn.Module):
    """Two convolutions."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.c1, self.c2 = _Convolution(taken, given), _Convolution(given, given)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.c2(self.c1(x))
        return found


class SeparableUNet(nn.Module):
    """Blocks with pooling between them, and back up with transposed convolutions.

    Args:
        channels: Input channels; a 1 x 1 convolution learns how to scale them.
        classes: Output channels.
        features: Channels of every stage, the finest first.
    """

    def __init__(
        self, channels: int, classes: int, features: Sequence[int] = _DEFAULTS["features"]
    ) -> None:
        super().__init__()
        self.norm = nn.Conv2d(channels, channels, 1)
        self._stages = len(features)
        for number, (taken, given) in enumerate(zip([channels, *features], features, strict=False)):
            self.add_module(f"b{number + 1}", _Block(taken, given))
        pairs = list(itertools.pairwise(features))[::-1]
        for number, (fine, coarse) in enumerate(pairs):
            self.add_module(f"u{number + 1}", nn.ConvTranspose2d(coarse, fine, 2, 2))
            self.add_module(f"b{self._stages + number + 1}", _Block(2 * fine, fine))
        self.head = nn.Conv2d(features[0], classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw scores (n, classes, y, x) for (n, channels, y, x)."""
        x, skips = self.norm(x), []
        for number in range(1, self._stages + 1):
            x = self.get_submodule(f"b{number}")(x)
            if number < self._stages:
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
        for number, skip in enumerate(reversed(skips), 1):
            up = self.get_submodule(f"u{number}")(x)
            x = self.get_submodule(f"b{self._stages + number}")(torch.cat([up, skip], 1))
        raw: torch.Tensor = self.head(x)
        return raw


def defaults(name: str) -> dict[str, Any]:
    """Return what the network takes, with the defaults."""
    return _DEFAULTS


def multiple(name: str, dims: int, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what input extents must be multiples of: halved between stages."""
    return (2 ** (len(arguments.get("features", _DEFAULTS["features"])) - 1),) * dims


def build(
    name: str, dims: int, channels: int, classes: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Return a network."""
    return SeparableUNet(channels, classes, **arguments)
