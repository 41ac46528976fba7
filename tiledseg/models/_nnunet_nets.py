"""nnU-Net v2's two U-Nets, with the names its checkpoints give to weights.

Structure and names are those of dynamic-network-architectures 0.4 (PlainConvUNet and
ResidualEncoderUNet). What only training needs is left out: dropout, and all segmentation layers but
the last. In a checkpoint every layer of a block has a second name, and the encoder lies in the
decoder once more; `plain_names` leaves these out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from math import prod
from typing import Any, Literal, TypeVar, cast

import torch
from torch import nn

from ..errors import ConfigError
from ._nnunet_blocks import CONV, UP, Maker, Named, Norm, PerAxis, Residual, per_axis

T = TypeVar("T")


class NnUNet(nn.Module):
    """A U-Net as nnU-Net plans it; the coarsest stage has no skip.

    Args:
        dims: 2 or 3 spatial axes of the convolutions.
        channels: Channels in.
        classes: Channels out.
        features: Channels of every stage, the finest first.
        kernels: Kernel of every stage.
        strides: Stride into every stage; the first is usually 1.
        convs: Convolutions, or residual blocks, of every stage.
        decoder_convs: Convolutions of every decoder stage, the coarsest first: one less.
        residual: Whether the encoder is residual: a stem, then blocks with a skip.
        bottleneck: For residual encoders, inner channels of every stage's blocks (1 x 1, kernel,
            1 x 1); None: blocks of two convolutions.
        stem: For residual encoders, channels of the stem; None: the first stage's.
        norm: Normalisation after a convolution.
        norm_eps: Its epsilon.
        norm_affine: Whether it has weights.
        bias: Whether convolutions have a bias; a residual block's skip never has.
        slope: Slope of the leaky ReLU below 0; 0 is a ReLU.
        nonlin_first: Whether the ReLU comes before the norm.
        slices: Whether a 2-D network takes volumes (n, c, 1, h, w): one slice at a time.

    Raises:
        ConfigError: Lists of stages that do not fit together.
    """

    def __init__(
        self,
        dims: Literal[2, 3],
        channels: int,
        classes: int,
        features: Sequence[int] = (32, 64, 128, 256),
        kernels: int | Sequence[PerAxis] = 3,
        strides: Sequence[PerAxis] = (1, 2, 2, 2),
        convs: int | Sequence[int] = 2,
        decoder_convs: int | Sequence[int] = 2,
        residual: bool = False,
        bottleneck: int | Sequence[int] | None = None,
        stem: int | None = None,
        norm: Norm = "instance",
        norm_eps: float = 1e-5,
        norm_affine: bool = True,
        bias: bool = True,
        slope: float = 0.01,
        nonlin_first: bool = False,
        slices: bool = False,
    ) -> None:
        super().__init__()
        stages = len(features)
        make = Maker(2 if slices else dims, norm, norm_eps, norm_affine, bias, slope, nonlin_first)
        kernels = _per_stage("kernels", kernels, stages)
        strides = _per_stage("strides", strides, stages)
        convs = _per_stage("convs", convs, stages)
        decoder_convs = _per_stage("decoder_convs", decoder_convs, stages - 1)
        self.slices = slices
        if residual:
            inner = None if bottleneck is None else _per_stage("bottleneck", bottleneck, stages)
            self.encoder: nn.Module = _ResidualEncoder(
                make, channels, features, kernels, strides, convs, inner, stem
            )
        else:
            self.encoder = _PlainEncoder(make, channels, features, kernels, strides, convs)
        self.decoder = _Decoder(make, classes, features, kernels, strides, decoder_convs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw outputs (n, classes, *s) for inputs (n, channels, *s)."""
        if not self.slices:
            return cast(torch.Tensor, self.decoder(self.encoder(x)))
        return cast(torch.Tensor, self.decoder(self.encoder(x.squeeze(2)))).unsqueeze(2)


class _PlainEncoder(nn.Module):
    def __init__(
        self,
        make: Maker,
        channels: int,
        features: Sequence[int],
        kernels: Sequence[PerAxis],
        strides: Sequence[PerAxis],
        convs: Sequence[int],
    ) -> None:
        super().__init__()
        into = [channels, *features[:-1]]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(make.stack(*stage))
                for stage in zip(convs, into, features, kernels, strides, strict=True)
            )
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return _outputs(self.stages, x)


class _ResidualEncoder(nn.Module):
    def __init__(
        self,
        make: Maker,
        channels: int,
        features: Sequence[int],
        kernels: Sequence[PerAxis],
        strides: Sequence[PerAxis],
        blocks: Sequence[int],
        bottleneck: Sequence[int] | None,
        stem: int | None,
    ) -> None:
        super().__init__()
        first = stem or features[0]
        self.stem = make.stack(1, channels, first, kernels[0])
        stages, into = [], first
        for i, out in enumerate(features):
            inner = None if bottleneck is None else bottleneck[i]
            residual = [
                Residual(make, out if n else into, out, kernels[i], 1 if n else strides[i], inner)
                for n in range(blocks[i])
            ]
            stages.append(Named({"blocks": nn.Sequential(*residual)}))
            into = out
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return _outputs(self.stages, self.stem(x))


class _Decoder(nn.Module):
    def __init__(
        self,
        make: Maker,
        classes: int,
        features: Sequence[int],
        kernels: Sequence[PerAxis],
        strides: Sequence[PerAxis],
        convs: Sequence[int],
    ) -> None:
        super().__init__()
        up = [per_axis(stride, make.dims) for stride in strides[:0:-1]]
        sides = list(features[-2::-1])
        self.transpconvs = nn.ModuleList(
            UP[make.dims](below, side, step, step, bias=make.bias)
            for below, side, step in zip(features[:0:-1], sides, up, strict=True)
        )
        self.stages = nn.ModuleList(
            make.stack(count, 2 * side, side, kernel)
            for count, side, kernel in zip(convs, sides, kernels[-2::-1], strict=True)
        )
        # The others serve deep supervision while training.
        last = CONV[make.dims](sides[-1], classes, 1)
        self.seg_layers = nn.ModuleDict({str(len(sides) - 1): last})

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        x = skips[-1]
        for up, stage, skip in zip(self.transpconvs, self.stages, skips[-2::-1], strict=True):
            x = stage(torch.cat((up(x), skip), 1))
        (last,) = self.seg_layers.values()
        return cast(torch.Tensor, last(x))


_RESIDUAL = ("bottleneck", "stem")


def defaults(name: str) -> dict[str, Any]:
    """Return what an architecture takes, with the defaults."""
    hidden = {"dims", "channels", "classes", "residual"}
    if name == "plain_conv_unet":
        hidden |= set(_RESIDUAL)
    known = signature(NnUNet).parameters.values()
    return {p.name: p.default for p in known if p.name not in hidden}


def multiple(name: str, dims: int, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what input extents must be multiples of, per axis: what the strides come to."""
    flat = bool(arguments.get("slices"))
    found = arguments.get("strides", defaults(name)["strides"])
    strides = [per_axis(stride, dims - flat) for stride in found]
    return (1,) * flat + tuple(map(prod, zip(*strides, strict=True)))


def build(
    name: str, dims: int, channels: int, classes: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Return a network."""
    residual = name == "residual_encoder_unet"
    return NnUNet(cast(Any, dims), channels, classes, residual=residual, **arguments)


def plain_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a checkpoint's weights, each once, without those of deep supervision.

    Args:
        state: ``network_weights`` of a checkpoint.
    """
    heads = [int(name.split(".")[2]) for name in state if name.startswith("decoder.seg_layers.")]
    other = tuple(f"decoder.seg_layers.{i}." for i in range(max(heads, default=0)))
    twice = ("decoder.encoder.", *other)
    return {
        name: values
        for name, values in state.items()
        if ".all_modules." not in name and not name.startswith(twice)
    }


def _outputs(stages: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    """Return what every stage gives, the finest first."""
    found = []
    for stage in stages:
        x = stage(x)
        found.append(x)
    return found


def _per_stage(name: str, value: T | Sequence[T], stages: int) -> Sequence[T]:
    """Return one entry per stage.

    Raises:
        ConfigError: There are more or fewer.
    """
    if not isinstance(value, Sequence):
        return [value] * stages
    if len(value) != stages:
        raise ConfigError(f"{name}: expected {stages} entries, one a stage, found {len(value)}")
    return value
