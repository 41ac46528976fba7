"""Which architecture a state dict looks like: a hint for people, told from names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError, TiledsegError
from ._architectures import ARCHITECTURES, Architecture
from ._create import create_model
from ._state import fit_state
from ._wrapped import prefix_of

#: Share of the kinds of names that must be common to both.
_ALIKE = 0.6
#: Encoders that are tried, by a word in the names of their tensors.
_ENCODERS = {
    "layer1.": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"),
    "layer1.0.se_module.": ("se_resnet50", "se_resnext50_32x4d"),
    "_blocks.": tuple(f"efficientnet-b{n}" for n in range(8)),
    "features.": ("mobilenet_v2", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn", "densenet121"),
    "patch_embed1.": ("mit_b0", "mit_b1", "mit_b2"),
}
#: Arguments that change the names of tensors or have no default, and those that are tried.
_TRIED: dict[str, tuple[dict[str, Any], ...]] = {
    "unet": tuple(
        {"features": (2, 2, 2), "strides": (2, 2), "num_res_units": n, "norm": norm}
        for n in (0, 2)
        for norm in ("batch", "instance")
    ),
    "unetr": ({"img_size": 32},),
}
#: Where the encoder stands in a network that takes one.
_ENCODER = ("encoder.", "backbone.")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Likeness:
    """What some weights look like.

    Args:
        architecture: Name in the table.
        encoder: The encoder, where the architecture takes one and it is one of those tried.
        dims: Spatial axes.
        channels: Input channels; 0 where the weights fit with other arguments at best.
        classes: Output channels; 0 likewise.
    """

    architecture: str
    encoder: str | None
    dims: int
    channels: int = 0
    classes: int = 0

    def __str__(self) -> str:
        encoder = f" with encoder {self.encoder}" if self.encoder else ""
        counts = f", {self.channels} channels, {self.classes} classes" if self.channels else ""
        return f"{self.architecture}{encoder} ({self.dims}-D{counts})"


def likeness(state: Mapping[str, torch.Tensor]) -> Likeness | None:
    """Return what a state dict looks like, or None where no architecture comes near.

    Networks are made without memory for their weights wherever that can be, and only with those
    encoders that the names tell of.
    """
    shapes = _shapes_of(state)
    dims = max((len(shape) for shape in shapes.values()), default=0) - 2
    rows = [row for row in ARCHITECTURES if dims in row.dims]
    alike = {row: _alike(row, dims, shapes) for row in rows}
    if not alike or max(alike.values()) < _ALIKE:
        return None
    row = max(alike, key=alike.__getitem__)
    own = _own(shapes, _made(row, row.encoder, dims)[0])
    counts = _counts(own, dims)
    for encoder in _encoders(own, row):
        for made in _made(row, encoder, dims, counts):
            if own == made:
                return Likeness(row.name, encoder, dims, *counts)
            if row.encoder and _inside(own) == _inside(made):
                return Likeness(row.name, encoder, dims)
    return Likeness(row.name, None, dims)


def fit_or_tell(
    network: nn.Module, state: Mapping[str, torch.Tensor], weights: str, card: str
) -> str | None:
    """Load a state dict into a network as `fit_state` does; say what misfits look like.

    Raises:
        ConfigError: As `fit_state`.
        DamagedInput: As `fit_state`.
    """
    try:
        return fit_state(network, dict(state), weights, card)
    except ConfigError as error:
        wanted = _shapes_of(network.state_dict())
        plain = {k: v for k, v in state.items() if not v.is_nested}
        alike = None if _own(_shapes_of(plain), wanted) == wanted else likeness(plain)
        if alike is None:
            raise
        raise ConfigError(f"{error}; these look like weights of {alike}") from None


def _alike(row: Architecture, dims: int, shapes: Shapes) -> float:
    """Return the share of kinds of names, outside the encoder, that two networks have in common."""
    shares = [0.0]
    for made in _made(row, row.encoder, dims):
        own, wanted = _kinds(_own(shapes, made), row), _kinds(made, row)
        shares.append(len(own & wanted) / max(1, len(own | wanted)))
    return max(shares)


def _kinds(shapes: Shapes, row: Architecture) -> set[str]:
    """Return names outside the encoder, without what tells of numbers of stages and layers."""
    inside = _ENCODER if row.encoder else ()
    names = (re.sub(r"\d+", "0", name) for name in shapes if not name.startswith(inside))
    return {re.sub(r"(submodule\.0\.)+", "submodule.0.", name) for name in names}


def _shapes_of(state: Mapping[str, torch.Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _own(shapes: Shapes, wanted: Shapes) -> Shapes:
    """Return shapes without what a wrapper put in front of their names."""
    prefix = prefix_of(shapes.keys(), wanted.keys())
    return {k.removeprefix(prefix): v for k, v in shapes.items() if k.startswith(prefix)}


def _inside(shapes: Shapes) -> Shapes:
    """Return the shapes of an encoder without its input channels."""
    return {k: (*v[:1], *v[2:]) for k, v in shapes.items() if k.startswith(_ENCODER)}


def _encoders(shapes: Shapes, row: Architecture) -> tuple[str | None, ...]:
    """Return the encoders to try; None stands for an architecture that takes none."""
    if row.encoder is None:
        return (None,)
    names = " ".join(name for name in shapes if name.startswith(_ENCODER))
    found = [one for word, ones in _ENCODERS.items() if word in names for one in ones]
    return tuple(dict.fromkeys((row.encoder, *found)))


def _counts(shapes: Shapes, dims: int) -> tuple[int, int]:
    """Return channels and classes: those of the first convolution and of the last bias."""
    kernels = [shape for shape in shapes.values() if len(shape) == dims + 2]
    biases = [v[0] for k, v in shapes.items() if k.endswith("bias") and len(v) == 1]
    return kernels[0][1] if kernels else 0, biases[-1] if biases else 0


@lru_cache(maxsize=64)
def _made(
    row: Architecture, encoder: str | None, dims: int, counts: tuple[int, int] = (1, 1)
) -> tuple[Shapes, ...]:
    """Return names and shapes of a network, for all arguments tried that can be made here."""
    tried = ({},) if row.encoder else _TRIED.get(row.name, ({},))
    made = (_shapes(row.name, encoder, dims, *counts, **arguments) for arguments in tried)
    return tuple(one for one in made if one)


def _shapes(name: str, encoder: str | None, dims: int, *counts: int, **arguments: Any) -> Shapes:
    """Return names and shapes of a network, or nothing where it cannot be made here."""
    channels, classes = counts
    for device in ("meta", "cpu"):  # some compute numbers while they are made
        with suppress(TiledsegError), torch.random.fork_rng(devices=()), torch.device(device):
            made = create_model(name, encoder, channels, classes, dims, **arguments)
            return _shapes_of(made.state_dict())
    return {}
