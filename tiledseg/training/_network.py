"""The network of a recipe: built from its card, with coarser outputs for deep supervision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from ..models import ModelCard, create_model, create_network
from ._learning_spec import NetworkSpec

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}


class Learner(nn.Module):
    """A network as it is trained: outputs of several resolutions, the finest first.

    Args:
        network: The network (n, c, *s) -> (n, k, *s).
        heads: For deep supervision: 1 x 1 convolutions of what stages of its decoder give, the
            finest first; only training needs them.
        stages: These stages.
    """

    def __init__(
        self,
        network: nn.Module,
        heads: Sequence[nn.Module] = (),
        stages: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.network, self.heads = network, nn.ModuleList(heads)
        self._seen: dict[int, torch.Tensor] = {}
        for place, stage in enumerate(stages):
            stage.register_forward_hook(self._hook(place))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return raw scores (n, k, *s), the finest first."""
        raw = self.network(x)
        if raw.ndim == x.ndim + 1:  # MONAI's DynUNet stacks its outputs at axis 1
            return list(raw.unbind(1))
        seen, self._seen = self._seen, {}
        return [raw, *(head(seen[place]) for place, head in enumerate(self.heads))]

    def _hook(self, place: int) -> Any:
        def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            self._seen[place] = output

        return keep


def build(spec: NetworkSpec, card: ModelCard, seed: int, start: nn.Module | None) -> Learner:
    """Build a network with weights that follow from a seed, but for those that are given.

    Args:
        spec: The recipe's.
        card: Axes, channels, classes and architecture.
        seed: Of its random weights.
        start: A network of the same architecture to take weights of, but for its outputs where it
            has not as many.

    Raises:
        ConfigError: There is no such architecture, or not with these arguments.
        DamagedInput: The file of pretrained weights holds none.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = create_network(card)
        if spec.encoder_weights is not None:
            network.load_state_dict(_pretrained(spec.encoder_weights, card))
        if start is not None:
            network.load_state_dict(_fitting(start.state_dict(), network.state_dict()))
        if not spec.deep:
            return Learner(network)
        stages = _stages(network, spec)
        heads = [_head(stage, card) for stage in stages]
        return Learner(network, heads, stages)


def _fitting(
    start: Mapping[str, torch.Tensor], fresh: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    return {k: start[k] if start[k].shape == new.shape else new for k, new in fresh.items()}


def _pretrained(weights: str, card: ModelCard) -> dict[str, torch.Tensor]:
    """Return the state of the network with a pretrained encoder."""
    arguments = {k: v for k, v in card.architecture.items() if k not in ("name", "encoder")}
    made = create_model(
        card.architecture["name"],
        card.architecture.get("encoder"),
        channels=len(card.channels),
        classes=card.outputs,
        dims=card.dims,
        encoder_weights=weights,
        **arguments,
    )
    return made.state_dict()


def _stages(network: nn.Module, spec: NetworkSpec) -> list[nn.Module]:
    """Return the decoder's stages that get outputs, the finest first.

    Raises:
        ConfigError: The network has none, or fewer.
    """
    decoder = getattr(network, "decoder", None)
    stages = list(getattr(decoder, "stages", ()))[-2::-1]
    if spec.architecture["name"] not in ("plain_conv_unet", "residual_encoder_unet"):
        raise ConfigError(
            f"network.deep {spec.deep}: architecture {spec.architecture['name']!r} has no outputs "
            "for deep supervision; take plain_conv_unet or residual_encoder_unet, or deep: 0"
        )
    if len(stages) < spec.deep:
        raise ConfigError(
            f"network.deep {spec.deep}: the decoder has {len(stages)} coarser stages; take at most "
            "so many"
        )
    return stages[: spec.deep]


def _head(stage: nn.Module, card: ModelCard) -> nn.Module:
    """Return a convolution from what a stage gives to scores."""
    last = [m for m in stage.modules() if isinstance(m, _CONV[card.dims])][-1]
    return _CONV[card.dims](last.out_channels, card.outputs, 1)
