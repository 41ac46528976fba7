"""What a person wrote beside a file that says little of itself: a card, whole or in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...document import read_document, read_values
from ...errors import ConfigError


def read_beside(path: Path) -> tuple[dict[str, Any], tuple[Path, ...], tuple[str, ...]]:
    """Return the keys in the file of the same name ending in .yaml, that file, and a note on it.

    Raises:
        ConfigError: It cannot be read.
    """
    beside = path.with_suffix(".yaml")
    if not beside.is_file():
        return {}, (), ()
    try:
        values = read_values(read_document(beside), f"card {beside}")
    except (OSError, ValueError) as error:
        raise ConfigError(f"card {beside} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"card {beside}: expected keys and values")
    return values, (beside,), (f"the card is {beside.name}, which lies beside it",)
