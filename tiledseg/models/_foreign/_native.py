"""A model of tiledseg itself: fetched, out of an archive, or to be given another card."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from ...document import require_plain
from ...errors import ConfigError, TiledsegError
from .._base import ModelCard
from .._card import CARD_NAME, card_to_dict, read_card, weights_paths
from .._companions import companions
from ._understood import Understood


def claims(path: Path) -> bool:
    """Return whether this is a folder with a card, or one file with its card inside."""
    if os.path.isfile(path / CARD_NAME):
        return True
    with suppress(TiledsegError):
        return path.suffix == ".safetensors" and bool(_inside(path))
    return False


def read(path: Path) -> Understood:
    """Return the model as it is.

    Raises:
        ConfigError: Its card is wrong, or weights that it names are not there.
    """
    from .._torch import read_weights  # which brings MONAI

    files: tuple[Path, ...] = ()
    if path.is_dir():
        card, files = read_card(path), (path / CARD_NAME,)
        weights = weights_paths(card, path)
    else:
        card, weights = _inside(path), (path,)
    _check_weights(path, card, weights)
    values, kind = card_to_dict(card), "model of tiledseg"
    if card.format != "tiledseg":
        beside = companions(weights[0], card.format)
        read_from = (*files, *weights, *beside)
        return Understood(kind, values, read_from, graph=weights[0], beside=beside)
    states = tuple(partial(read_weights, file) for file in weights)
    return Understood(kind, values, (*files, *weights), states)


def _check_weights(path: Path, card: ModelCard, weights: tuple[Path, ...]) -> None:
    """Refuse weights that are not the model's own, not there, or not those of the card.

    Raises:
        ConfigError: A name leads elsewhere by an environment variable, or there is no such file.
        DamagedInput: One is a pipe or a device, or they are other weights.
    """
    from .._find import Fold, identified  # which knows all readers

    elsewhere = next((name for name in (card.weights, *card.folds) if "$" in name), None)
    if elsewhere is not None:
        raise ConfigError(
            f"{path}: its card takes weights from {elsewhere[:80]!r}: what is imported has its "
            "weights beside its card"
        )
    for file in weights:
        require_plain(file)
        if not os.path.isfile(file):
            raise ConfigError(f"{path}: weights {file.name[:80]!r} are not there")
    if card.format == "tiledseg":
        identified(card, tuple(map(Fold, weights)))


def _inside(path: Path) -> ModelCard:
    """Return the card inside a .safetensors file.

    Raises:
        ConfigError: There is none, or it is wrong.
        DamagedInput: The file is none.
    """
    from .._torch import read_embedded_card

    card = read_embedded_card(path)
    if card is None:
        raise ConfigError(f"{path} has no card inside")
    return card
