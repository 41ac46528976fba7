"""Which layers make a network global: every one is tried alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ._base import Model, ModelCard

#: What is changed becomes noise of this mean and spread, in model units: another kind of place, so
#: that means and spreads over the window change as well.
MEAN, SPREAD = 1.0, 3.0


def global_layers(model: Model) -> tuple[tuple[str, str], ...]:
    """Return the innermost layers that carry a change of one half of their input to the far end.

    Every layer is tried on noise of the extents it gets inside the network. Convolutions are
    bounded by their nature, though a dilated one may span a small window.

    Returns:
        Name and class of each; nothing where the model has no network to look into.
    """
    if model.network is None:
        return ()
    return tuple(
        (name, type(layer).__name__)
        for name, (layer, shape) in _inputs(model.network, model.card).items()
        if not isinstance(layer, nn.modules.conv._ConvNd) and _spreads(layer, shape)
    )


def _inputs(network: nn.Module, card: ModelCard) -> dict[str, tuple[nn.Module, torch.Size]]:
    """Return the innermost layers that take one image (n, c, *s), and its extents."""
    seen: dict[str, tuple[nn.Module, torch.Size]] = {}

    def watch(name: str, layer: nn.Module) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...]) -> None:
            only = args[0] if len(args) == 1 else None
            if isinstance(only, torch.Tensor) and only.ndim == card.dims + 2:
                seen[name] = (layer, only.shape)

        return layer.register_forward_pre_hook(note)

    innermost = [(n, m) for n, m in network.named_modules() if not list(m.children())]
    hooks = [watch(name, layer) for name, layer in innermost]
    try:
        with torch.inference_mode():
            network(_like(network, torch.zeros((1, len(card.channels), *card.window))))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _spreads(layer: nn.Module, shape: torch.Size) -> bool:
    """Whether changing the first half of a layer's input changes the last sample of its output."""
    x = _like(layer, torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    other = x.clone()
    other.narrow(2, 0, shape[2] // 2).mul_(SPREAD).add_(MEAN)
    with torch.inference_mode():
        return not torch.equal(layer(x)[:, :, -1], layer(other)[:, :, -1])


def _like(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the type, and on the device, of a layer's weights."""
    weights = next(layer.parameters(), None)
    return x if weights is None else x.to(weights)
