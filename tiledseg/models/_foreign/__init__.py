"""Models that other tools wrote, read without running anything of theirs.

A reader is a module with two functions:

    claims(path) -> bool         whether this is its kind; cheap, and it never raises
    read(path) -> Understood     the card in the words of tiledseg, and where the weights are

`read` may raise ConfigError (it cannot be run here, and why) and DamagedInput. It reads the
weights only when a state is called. Readers are asked in the order of the list: the most
particular first, so that the weights inside a folder are not mistaken for the model.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...document import require_plain
from ...errors import ConfigError
from .._state import State
from . import _archive, _bundle, _mlm, _native, _nnunet, _smp_folder
from ._complete import complete
from ._mlm import linked_url
from ._understood import Understood
from ._weights import WEIGHTS, Reader

__all__ = ["State", "Understood", "complete", "find_reader", "linked_url", "understand"]


#: To add a kind of model, write a reader and name it here.
READERS: tuple[Reader, ...] = (
    *(_native, _nnunet, _bundle, _smp_folder, _mlm, _archive),
    *WEIGHTS,
)


def find_reader(path: Path) -> Reader | None:
    """Return the reader that knows a file or folder, or None."""
    return next((reader for reader in READERS if reader.claims(path)), None)


def understand(path: Path) -> Understood:
    """Return what a foreign model is.

    Raises:
        ConfigError: No reader knows it, or it cannot be run here.
        DamagedInput: It is not what it claims to be.
    """
    if not os.path.exists(path):
        raise ConfigError(f"there is no model at {path}")
    require_plain(path)
    reader = find_reader(path)
    if reader is None:
        raise ConfigError(f"{path} is no kind of foreign model that is known here")
    return reader.read(path)
