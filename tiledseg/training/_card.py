"""The card of the model that a training makes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from math import gcd, lcm
from typing import Any

from ..errors import ConfigError
from ..labels import ClassSchema
from ..models import ModelCard, card_from_dict, card_to_dict, multiples_of
from ._recipe import Recipe


def card_of(recipe: Recipe, schema: ClassSchema, channels: Sequence[str]) -> ModelCard:
    """Return the card of a recipe's model; where it comes from is told when it is trained.

    Args:
        recipe: The settings.
        schema: The classes.
        channels: Names of the image's channels.

    Raises:
        ConfigError: The network does not take such windows, or a setting does not fit the channels.
    """
    window, architecture = recipe.patches.window, recipe.network.architecture
    steps = multiples_of(architecture, len(window))
    multiple = lcm(*steps)
    any_size = all(extent % multiple == 0 for extent in window)
    any_size = any_size and architecture["name"] != "unetr"
    card = ModelCard(
        name=recipe.name,
        format="tiledseg",
        weights="weights.safetensors",
        dims=2 if len(window) == 2 else 3,
        channels=tuple(channels),
        schema=schema,
        window=window,
        architecture=architecture,
        # One network takes windows along whose axes it halves differently often: then those only.
        multiple=multiple if any_size else gcd(multiple, *window),
        any_size=any_size,
        normalization=recipe.data.steps,
        spacing=recipe.data.spacing,
        orientation=recipe.data.orientation,
        licence=recipe.licence,
    )
    try:
        return card_from_dict(card_to_dict(card), recipe.name)
    except ConfigError as error:
        raise ConfigError(f"the recipe makes no model that can be run: {error}") from None


def provenance(facts: dict[str, Any]) -> str:
    """Return where a model comes from, in sentences: ``name: value`` of the facts, by line."""
    lines = [f"trained by tiledseg {version('tiledseg')}"]
    lines += [f"{name}: {value}" for name, value in facts.items() if value not in (None, "")]
    return "\n".join(lines)
