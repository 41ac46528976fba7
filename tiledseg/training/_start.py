"""A trained model to learn on from: found, and of the same network."""

from __future__ import annotations

from typing import Any

from ..document import brief, to_flow
from ..errors import ConfigError
from ..models import Model, ModelCard, Runtime, load_model


def find_start(named: str, card: ModelCard) -> Model:
    """Return a model whose weights fit what is to be trained, but for the number of classes.

    Args:
        named: Name of a bundled model, or a path.
        card: Of what is to be trained.

    Raises:
        ConfigError: There is none, it has no weights of torch, or the recipe differs from it.
        DamagedInput: Its weights are damaged.
    """
    model = load_model(named, runtime=Runtime("torch"), probed=False)
    if model.network is None:
        raise ConfigError(
            f"network.start {named} is a graph, or more than one network: give a single one that "
            "tiledseg trained, or imported from torch"
        )
    for setting, found, wanted in _pairs(model.card, card):
        if found != wanted:
            raise ConfigError(
                f"network.start {named} was trained with {setting} {to_flow(found)}, the recipe "
                f"has {brief(wanted)}: learn on with what it knows, or leave network.start out"
            )
    return model


def _pairs(start: ModelCard, card: ModelCard) -> tuple[tuple[str, Any, Any], ...]:
    """Return what must be alike: the setting, that of the start, and the recipe's."""
    steps = (start.normalization.to_list(), card.normalization.to_list())
    return (
        ("network.architecture", dict(start.architecture), dict(card.architecture)),
        ("data.normalization", *steps),
        ("channels:", len(start.channels), len(card.channels)),
        ("axes:", start.dims, card.dims),
    )
