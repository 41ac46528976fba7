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

Norm = Literal["instance", "batch", "none"]
#: One number for all axes, or one per axis.
PerAxis = int | Sequence[int]
T = TypeVar("T")

# Their annotations want as many numbers as there are axes.
_CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_UP: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOL: dict[int, Any] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


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
        make = _Maker(2 if slices else dims, norm, norm_eps, norm_affine, bias, slope, nonlin_first)
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


class _Maker:
    """Makes blocks of one kind."""

    def __init__(
        self,
        dims: Literal[2, 3],
        norm: Norm,
        eps: float,
        affine: bool,
        bias: bool,
        slope: float,
        nonlin_first: bool,
    ) -> None:
        self.dims, self.bias, self._slope, self._first = dims, bias, slope, nonlin_first
        self._norm, self._eps, self._affine = norm, eps, affine

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
        size = _axes(kernel, self.dims)
        layers["conv"] = _CONV[self.dims](
            into,
            out,
            size,
            _axes(stride, self.dims),
            padding=tuple((k - 1) // 2 for k in size),
            bias=self.bias if bias is None else bias,
        )
        if self._norm != "none":
            kind = _INSTANCE if self._norm == "instance" else _BATCH
            layers["norm"] = kind[self.dims](out, eps=self._eps, affine=self._affine)
        if active:
            layers["nonlin"] = self.relu()
        if self._first and len(layers) == 3:
            layers = {name: layers[name] for name in ("conv", "nonlin", "norm")}
        return _Named(layers)

    def stack(
        self, count: int, into: int, out: int, kernel: PerAxis, stride: PerAxis = 1
    ) -> nn.Module:
        """Return several blocks, the first with a stride."""
        blocks = [
            self.block(out if i else into, out, kernel, 1 if i else stride) for i in range(count)
        ]
        return _Named({"convs": nn.Sequential(*blocks)})

    def relu(self) -> nn.Module:
        """Return the non-linearity."""
        return nn.LeakyReLU(self._slope, inplace=True) if self._slope else nn.ReLU(inplace=True)


class _Named(nn.Module):
    """Layers called one after the other, under names of their own."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class _PlainEncoder(nn.Module):
    def __init__(
        self,
        make: _Maker,
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
        make: _Maker,
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
                _Residual(make, out if n else into, out, kernels[i], 1 if n else strides[i], inner)
                for n in range(blocks[i])
            ]
            stages.append(_Named({"blocks": nn.Sequential(*residual)}))
            into = out
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return _outputs(self.stages, self.stem(x))


class _Residual(nn.Module):
    """Convolutions beside a skip that is averaged where they stride (ResNet-D; He et al. 2019)."""

    def __init__(
        self,
        make: _Maker,
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
        steps = _axes(stride, make.dims)
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


class _Decoder(nn.Module):
    def __init__(
        self,
        make: _Maker,
        classes: int,
        features: Sequence[int],
        kernels: Sequence[PerAxis],
        strides: Sequence[PerAxis],
        convs: Sequence[int],
    ) -> None:
        super().__init__()
        up = [_axes(stride, make.dims) for stride in strides[:0:-1]]
        sides = list(features[-2::-1])
        self.transpconvs = nn.ModuleList(
            _UP[make.dims](below, side, step, step, bias=make.bias)
            for below, side, step in zip(features[:0:-1], sides, up, strict=True)
        )
        self.stages = nn.ModuleList(
            make.stack(count, 2 * side, side, kernel)
            for count, side, kernel in zip(convs, sides, kernels[-2::-1], strict=True)
        )
        # The others serve deep supervision while training.
        last = _CONV[make.dims](sides[-1], classes, 1)
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
    strides = [_axes(stride, dims - flat) for stride in found]
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


def _axes(value: PerAxis, dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


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
