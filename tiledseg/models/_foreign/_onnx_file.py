"""An ONNX file, with a card beside it or what the user says."""

from __future__ import annotations

import os
from pathlib import Path

from ._beside import read_beside
from ._understood import Understood


def claims(path: Path) -> bool:
    """Return whether this is an ONNX file."""
    return path.suffix == ".onnx" and os.path.isfile(path)


def read(path: Path) -> Understood:
    """Return the graph; the card is what a file of the same name ending in .yaml says.

    Raises:
        ConfigError: The card beside it cannot be read.
    """
    values, files, notes = read_beside(path)
    card = {**values, "format": "onnx"}
    return Understood("ONNX graph", card, (path, *files), graph=path, notes=notes)
