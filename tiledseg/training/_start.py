"""A trained model to learn on from: found, and of the same network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..document import to_flow
from ..errors import ConfigError, DamagedInput
from ..models import Model, ModelCard, Runtime, card_to_dict, find_card, load_model, model_files
from ._recipe import differences

#: What is a matter of order only where both sides name the same.
_NAMES = ("classes", "channels")


def find_start(named: str, card: ModelCard) -> Model:
    """Return a model whose weights fit what is to be trained, but for the outputs.

    Args:
        named: Where it is.
        card: Of what is to be trained.

    Raises:
        ConfigError: There is none, it has no weights of torch, or the recipe differs from it.
        DamagedInput: Its weights are damaged.
    """
    try:
        start = find_card(named)
        _require_alike(named, start, card)
        return load_model(named, runtime=Runtime("torch"), probed=False)
    except (ConfigError, DamagedInput) as error:
        raise type(error)(f"network.start: {error}") from None


def lies_in(named: str, folder: Path) -> bool:
    """Return whether a start, or a file that it is read from, lies in a folder."""
    place = folder.resolve()
    return any(
        file.resolve().is_relative_to(place) for file in (Path(named), *model_files(Path(named)))
    )


def _require_alike(named: str, start: ModelCard, card: ModelCard) -> None:
    """Refuse weights that would stand for something else.

    Raises:
        ConfigError: They would; the sentence tells by what.
    """
    if start.format != "tiledseg" or start.folds:
        raise ConfigError(
            f"{named} is a graph, or several networks: give a single one that tiledseg trained, or "
            "imported from torch"
        )
    theirs, ours = _needed(start), _needed(card)
    found = differences(theirs, ours)
    if start.any_size and card.any_size:  # else weights may depend on the window
        found.pop("patches.window", None)
    for key in _NAMES:
        if set(theirs[key]) != set(ours[key]):
            found.pop(key, None)
    if "data.normalization" in found:
        wanted = to_flow(theirs["data"]["normalization"])
        found["data.normalization"] = f"data.normalization is to be {wanted}"
    if found:
        raise ConfigError(
            f"{named} is of another network than the recipe: {'; '.join(found.values())}; learn on "
            "with what it was trained with"
        )


def _needed(card: ModelCard) -> dict[str, Any]:
    """Return what must be alike, as recipe and dataset call it."""
    values = card_to_dict(card)
    return {
        "network": {"architecture": values["architecture"]},
        "data": {"normalization": values["normalization"]},
        "image": {"axes": card.dims, "channels": len(card.channels)},
        "patches": {"window": values["window"]},
        "card": {key: values.get(key) for key in ("axes", "painted", "previous")},
        "classes": [one.name for one in card.schema.classes],
        "channels": list(card.channels),
    }
