"""Files that hold weights or a graph and nothing about images: what other readers point to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from . import _graph_file, _state_dict
from ._understood import Understood


class Reader(Protocol):
    """What the module of a reader offers."""

    def claims(self, path: Path) -> bool:
        """Return whether a file or folder is of this kind."""

    def read(self, path: Path) -> Understood:
        """Return what it is."""


#: Graphs first: they say more of themselves than a state dict does.
WEIGHTS: tuple[Reader, ...] = (_graph_file, _state_dict)


def read_first(files: Iterable[Path]) -> Understood | None:
    """Return what the most telling of some files is; None where no reader knows any of them.

    Raises:
        ConfigError: It cannot be run here.
        DamagedInput: It is not what it claims to be.
    """
    listed = list(files)
    found = (reader.read(f) for reader in WEIGHTS for f in listed if reader.claims(f))
    return next(found, None)
