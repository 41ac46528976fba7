"""What a person wrote beside a file that says little of itself: a card, whole or in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...document import brief
from ...errors import ConfigError
from .._card import card_values


def place_beside(path: Path) -> Path:
    """Return where the card of a file is looked for."""
    return path.with_suffix(".yaml")


def read_beside(path: Path) -> tuple[dict[str, Any], tuple[Path, ...], tuple[str, ...]]:
    """Return the keys in the file of the same name ending in .yaml, that file, and a note on it.

    Raises:
        ConfigError: It cannot be read.
    """
    beside = place_beside(path)
    if not beside.is_file():
        return {}, (), ()
    values, name = card_values(beside)
    if not isinstance(values, dict):
        raise ConfigError(f"card {name}: expected keys and values, found {brief(values)}")
    return values, (beside,), (f"the card is {beside.name}, which lies beside it",)
