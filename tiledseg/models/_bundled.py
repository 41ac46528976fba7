"""Models that come with the package, found by name alone."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from ._card import CARD_NAME, read_card

#: A folder each; its name is the model's.
_FOLDER = Path(__file__).parent / "bundled"
#: Columns of `bundled_rows`.
BUNDLED_COLUMNS = ("name", "dims", "channels", "classes", "spacing", "licence")


@cache
def bundled_models() -> tuple[str, ...]:
    """Return the names of the models that come with the package."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob(f"*/{CARD_NAME}")))


def bundled_rows() -> list[tuple[str, ...]]:
    """Return what there is to know of each, as `BUNDLED_COLUMNS` names it."""
    return [_row(name) for name in bundled_models()]


def bundled_folder(name: str) -> Path | None:
    """Return the folder of a model that comes with the package, or None where none is called so."""
    return _FOLDER / name if name in bundled_models() else None


def placed(model: str | Path) -> Path:
    """Return where a model is: for the name of one that comes with the package, its folder.

    What lies in the working folder under such a name comes first.
    """
    place = Path(model)
    return place if os.path.lexists(place) else bundled_folder(str(model)) or place


def _row(name: str) -> tuple[str, ...]:
    card = read_card(_FOLDER / name)
    spacing = "any" if card.spacing is None else " x ".join(f"{s:g}" for s in card.spacing if s)
    classes = ", ".join(c.name for c in card.schema.classes)
    return (name, f"{card.dims}-D", ", ".join(card.channels), classes, spacing, card.licence)
