"""A trained model to learn on from: found, of the same network, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..document import to_flow
from ..errors import ConfigError
from ..models import ModelCard, Runtime, card_to_dict, find_card, load_model
from ._recipe import differences


def find_start(named: str, card: ModelCard) -> ModelCard:
    """Return the card of a model whose weights fit what is to be trained, but for the outputs.

    Args:
        named: Where it is.
        card: Of what is to be trained.

    Raises:
        ConfigError: There is none, it has no weights of torch, or the recipe differs from it.
        DamagedInput: Its weights are damaged.
    """
    try:
        start = find_card(named)
    except ConfigError as error:
        raise ConfigError(f"network.start: {error}") from None
    if start.format != "tiledseg" or start.folds:
        raise ConfigError(
            f"network.start {named} is a graph, or several networks: give a single one that "
            "tiledseg trained, or imported from torch"
        )
    found = differences(_needed(start), _needed(card))
    if start.any_size and card.any_size:  # else weights may depend on the window
        found.pop("patches.window", None)
    if set(_classes(start)) != set(_classes(card)):  # else outputs would stand for others
        found.pop("classes", None)
    if "data.normalization" in found:
        wanted = to_flow(card_to_dict(start)["normalization"])
        found["data.normalization"] = f"data.normalization is to be {wanted}"
    if found:
        raise ConfigError(
            f"network.start {named} is of another network than the recipe: "
            f"{'; '.join(found.values())}; learn on with what it was trained with"
        )
    _load(named)  # says what is damaged, before anything is written
    return start


def start_weights(named: str, fresh: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of a start; fresh ones where its outputs are not as many.

    Args:
        named: Where it is, as `find_start` was asked.
        fresh: Those of the network to be trained.

    Raises:
        ConfigError: They do not fit its card.
        DamagedInput: They are damaged.
    """
    found = _load(named).state_dict()
    return {k: found[k] if found[k].shape == new.shape else new for k, new in fresh.items()}


def _load(named: str) -> nn.Module:
    network = load_model(named, runtime=Runtime("torch"), probed=False).network
    assert network is not None  # noqa: S101  # `find_start` refuses graphs and folds
    return network


def _classes(card: ModelCard) -> list[str]:
    return [one.name for one in card.schema.classes]


def _needed(card: ModelCard) -> dict[str, Any]:
    """Return what must be alike, as recipe and dataset call it."""
    return {
        "network": {"architecture": card.architecture},
        "data": {"normalization": card.normalization.to_list()},
        "image": {"axes": card.dims, "channels": len(card.channels)},
        "patches": {"window": list(card.window)},
        "classes": _classes(card),
    }
