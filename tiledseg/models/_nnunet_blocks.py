"""Blocks of nnU-Net's U-Nets, with the names their layers have in its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

Norm = Literal["instance", "batch", "none"]
#: One number for all axes, or one per axis.
PerAxis = int | Sequence[int]

# Their annotations want as many numbers as there are axes.
CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
UP: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOL: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@dataclass(frozen=True)
class Maker:
    """Makes blocks of one kind; see `NnUNet` for the words."""

    dims: Literal[2, 3]
    norm: Norm
    eps: float
    affine: bool
    bias: bool
    slope: float
    nonlin_first: bool

    def block(
        self,
        into: int,
        out: int,
        kernel: PerAxis,
        stride: PerAxis = 1,
        active: bool = True,
        bias: bool | None = None,
    ) -> nn.Module:
        """Return convolution, norm and ReLU; ``active``: whether there is a ReLU."""
        layers: dict[str, nn.Module] = {}
        size = per_axis(kernel, self.dims)
        layers["conv"] = CONV[self.dims](
            into,
            out,
            size,
            per_axis(stride, self.dims),
            padding=tuple((k - 1) // 2 for k in size),
            bias=self.bias if bias is None else bias,
        )
        if self.norm != "none":
            kind = _INSTANCE if self.norm == "instance" else _BATCH
            layers["norm"] = kind[self.dims](out, eps=self.eps, affine=self.affine)
        if active:
            layers["nonlin"] = self.relu()
        if self.nonlin_first and len(layers) == 3:
            layers = {name: layers[name] for name in ("conv", "nonlin", "norm")}
        return Named(layers)

    def stack(
        self, count: int, into: int, out: int, kernel: PerAxis, stride: PerAxis = 1
    ) -> nn.Module:
        """Return several blocks, the first with a stride."""
        blocks = [
            self.block(out if i else into, out, kernel, 1 if i else stride) for i in range(count)
        ]
        return Named({"convs": nn.Sequential(*blocks)})

    def relu(self) -> nn.Module:
        """Return the non-linearity."""
        return nn.LeakyReLU(self.slope, inplace=True) if self.slope else nn.ReLU(inplace=True)


class Named(nn.Module):
    """Layers called one after the other, under names of their own."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class Residual(nn.Module):
    """Convolutions beside a skip that is averaged where they stride (ResNet-D; He et al. 2019)."""

    def __init__(
        self,
        make: Maker,
        into: int,
        out: int,
        kernel: PerAxis,
        stride: PerAxis,
        inner: int | None,
    ) -> None:
        super().__init__()
        if inner is None:
            self.conv1 = make.block(into, out, kernel, stride)
            self.conv2 = make.block(out, out, kernel, active=False)
        else:
            self.conv1 = make.block(into, inner, 1)
            self.conv2 = make.block(inner, inner, kernel, stride)
            self.conv3 = make.block(inner, out, 1, active=False)
        steps = per_axis(stride, make.dims)
        skip: list[nn.Module] = []
        if any(step != 1 for step in steps):
            skip.append(_POOL[make.dims](steps, steps))
        if into != out:
            skip.append(make.block(into, out, 1, active=False, bias=False))
        self.skip = nn.Sequential(*skip)
        self.nonlin = make.relu()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(self.conv1(x))
        if hasattr(self, "conv3"):
            y = self.conv3(y)
        return cast(torch.Tensor, self.nonlin(y + self.skip(x)))


def per_axis(value: PerAxis, dims: int) -> tuple[int, ...]:
    """Return one number per axis."""
    return (value,) * dims if isinstance(value, int) else tuple(value)
