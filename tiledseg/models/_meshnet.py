"""MeshNet: a stack of dilated convolutions that keeps the full resolution.

Fedorov et al., "End-to-end learning of brain tissue segmentation from imperfect labeling", IJCNN
2017. Networks of this kind are small (5,000 to 200,000 parameters) and exact under tiling at any
offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from torch import nn

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMS = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
}
_ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU}
#: Those of brainchop's networks of nine layers: a receptive radius of 46 samples.
_DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)
_DEFAULTS: dict[str, Any] = {
    "features": 30,
    "dilations": _DILATIONS,
    "norm": "batch",
    "activation": "relu",
}


class MeshNet(nn.Sequential):
    """Convolutions of extent 3, one per dilation, and one of extent 1 to the classes.

    Layers are numbered as in brainchop's networks, so that their weights fit: convolution, norm
    where there is one, activation, and so on.

    Args:
        dims: 2 or 3 spatial axes.
        channels: Input channels.
        classes: Output channels.
        features: Channels between.
        dilations: Of every convolution; their sum is the receptive radius.
        norm: ``batch``, ``instance`` (global; without weights), or None: none, and biases instead,
            as in brainchop's networks, whose norms are folded into the weights.
        activation: ``relu``, ``elu`` or ``gelu``.

    Raises:
        KeyError: There is no such norm or activation.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        classes: int,
        features: int = 30,
        dilations: Sequence[int] = _DILATIONS,
        norm: Literal["batch", "instance"] | None = "batch",
        activation: Literal["relu", "elu", "gelu"] = "relu",
    ) -> None:
        convolution = _CONVOLUTIONS[dims]

        def block(taken: int, dilation: int) -> list[nn.Module]:
            layers: list[nn.Module] = [
                convolution(
                    *(taken, features, 3),
                    padding=dilation,
                    dilation=dilation,
                    bias=norm is None,
                )
            ]
            if norm is not None:
                layers.append(_NORMS[norm, dims](features))
            return [*layers, _ACTIVATIONS[activation]()]

        blocks = [block(features if i else channels, d) for i, d in enumerate(dilations)]
        super().__init__(*chain(*blocks), convolution(features, classes, 1))


def defaults(name: str) -> dict[str, Any]:
    """Return what MeshNet takes, with the defaults."""
    return _DEFAULTS


def multiple(name: str, dims: int, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what input extents must be multiples of: anything."""
    return (1,) * dims


def build(
    name: str, dims: int, channels: int, classes: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Return a network."""
    return MeshNet(dims, channels, classes, **arguments)
