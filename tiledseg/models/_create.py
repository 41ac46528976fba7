"""Networks built by name: for training by hand, and for the weights of a card."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from torch import nn

from ..document import brief
from ..errors import ConfigError, TiledsegError
from ._architectures import Architecture, close, door_of, find_architecture, multiple_of
from ._base import ModelCard


def create_model(
    architecture: str,
    encoder: str | None = None,
    channels: int = 3,
    classes: int = 2,
    dims: int = 2,
    **arguments: Any,
) -> nn.Module:
    """Build a network with random weights, ready for training in plain torch.

    The same is built from a card with ``architecture: {name: ..., encoder: ..., **arguments}``.
    Nothing is ever fetched: pretrained weights come from a file.

    >>> network = create_model("meshnet", channels=5, classes=3, dims=3)
    >>> sum(p.numel() for p in network.parameters() if p.dim() > 1)
    198540

    Args:
        architecture: A name from the table (`tiledseg models`).
        encoder: Where the architecture takes one: any of segmentation_models_pytorch or timm, as
            ``resnet18`` or ``xception65``. None takes the default; for ``unet``, MONAI's, which
            has none.
        channels: Input channels, any number.
        classes: Output channels.
        dims: Spatial axes: 2 (y, x) or 3 (z, y, x).
        arguments: What the library's own class takes (`tiledseg models NAME`), for example
            ``decoder_atrous_rates`` and ``encoder_output_stride`` of DeepLab; ``encoder_weights``
            is a file (.safetensors, or .pth with tensors only) with pretrained weights of the
            encoder for three channels, whose first convolution is spread over the channels asked
            for.

    Returns:
        A module from float32 (n, channels, *s) to raw scores (n, classes, *s).

    Raises:
        ConfigError: There is no such architecture, encoder or argument, or not for these axes, or
            the library refuses the arguments.
        MissingBackend: The library is not installed.
        DamagedInput: The file of ``encoder_weights`` holds no tensors.
    """
    for name, count in (("channels", channels), ("classes", classes)):
        if type(count) is not int or count < 1:
            raise ConfigError(f"{name}: expected a whole number from 1 up, found {brief(count)}")
    row = find_architecture(architecture, encoder, dims)
    return _build(row, encoder, (dims, channels, classes), arguments)


def create_network(card: ModelCard) -> nn.Module:
    """Build the network of a card, with random weights.

    Axes, channels in and channels out are the card's; the rest of ``card.architecture`` is as
    `create_model` takes it.

    Raises:
        ConfigError: There is no such architecture, encoder or argument, or the card's window does
            not suit it.
        MissingBackend: The library is not installed.
    """
    try:
        row, encoder, arguments = _row(card.architecture, card.dims)
        if "encoder_weights" in arguments:
            raise ConfigError("encoder_weights are for create_model: leave them out of a card")
        if row.name == "unetr":
            arguments.setdefault("img_size", card.window)
        network = _build(row, encoder, (card.dims, len(card.channels), card.outputs), arguments)
        _check_window(card, row, arguments)
    except ConfigError as error:
        raise ConfigError(f"card {card.name!r}: {error}") from None
    return network


def multiples_of(architecture: Mapping[str, Any], dims: int) -> tuple[int, ...]:
    """Return what input extents must be multiples of, per axis, for a card's architecture.

    Raises:
        ConfigError: There is no such architecture, or not for these axes.
        MissingBackend: Its library is not installed.
    """
    row, _, arguments = _row(architecture, dims)
    return door_of(row.door).multiple(row.name, dims, arguments)


def _row(architecture: Mapping[str, Any], dims: int) -> tuple[Architecture, Any, dict[str, Any]]:
    """Return the row of a card's architecture, its encoder, and its arguments for `_build`."""
    arguments = dict(architecture)
    name, encoder = arguments.pop("name", None), arguments.pop("encoder", None)
    row = find_architecture(name, encoder, dims)
    if name == "unet" and "channels" in arguments:  # what MONAI calls the features
        arguments["features"] = arguments.pop("channels")
    return row, encoder, arguments


def arguments_of(row: Architecture) -> dict[str, Any]:
    """Return what an architecture takes besides encoder, channels, classes and axes.

    Returns:
        Names and defaults; `inspect.Parameter.empty` where there is no default.

    Raises:
        MissingBackend: Its library is not installed.
    """
    return dict(door_of(row.door).defaults(row.name))


def _build(
    row: Architecture, encoder: Any, shape: tuple[int, int, int], arguments: dict[str, Any]
) -> nn.Module:
    """Build a network of ``shape``: axes, channels, classes."""
    door = door_of(row.door)
    known = door.defaults(row.name)
    for name in arguments:
        if name not in known:
            raise ConfigError(
                f"architecture {row.name!r} takes no argument {brief(name)}"
                f"{close(name, list(known))}; it takes {', '.join(known)}"
            )
    missing = [k for k, v in known.items() if v is Parameter.empty and k not in arguments]
    if missing:
        raise ConfigError(f"architecture {row.name!r} needs {', '.join(missing)}")
    if row.encoder:
        arguments = {**arguments, "encoder": row.encoder if encoder is None else encoder}
    try:
        return door.build(row.name, *shape, arguments)
    except TiledsegError:
        raise
    except Exception as error:  # wrong arguments break libraries in places of their own
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"architecture {row.name!r}: {reason}") from None


def _check_window(card: ModelCard, row: Architecture, arguments: dict[str, Any]) -> None:
    """Refuse a window on which the network would fail.

    Raises:
        ConfigError: It is one.
    """
    if row.name == "unetr":
        size = arguments["img_size"]
        extents = (size,) * card.dims if isinstance(size, int) else tuple(size)
        if card.any_size or extents != card.window:
            raise ConfigError(
                f"architecture 'unetr' takes windows of its img_size only: set any_size: false "
                f"and window: {list(extents)}"
            )
    steps = multiple_of(row, card.dims, arguments)
    pairs = list(zip(card.window, steps, strict=True))
    if row.refuses and any(extent % step for extent, step in pairs):
        near = [max(1, round(extent / step)) * step for extent, step in pairs]
        raise ConfigError(
            f"window: {card.window} must be a multiple of {', '.join(map(str, steps))}, which "
            f"architecture {row.name!r} needs; {near} is one"
        )
