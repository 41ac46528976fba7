"""A graph file of any kind, with what it tells of itself and a card beside it."""

from __future__ import annotations

import os
from pathlib import Path

from .._companions import companions
from .._graph_card import class_names, completed, graph_format
from ._beside import place_beside, read_beside
from ._understood import Understood

_KINDS = {
    "onnx": "ONNX graph",
    "openvino": "OpenVINO graph",
    "torchscript": "TorchScript archive",
    "pt2": "program of torch.export",
}


def claims(path: Path) -> bool:
    """Return whether this is a graph file, told by its content."""
    return os.path.isfile(path) and graph_format(path) is not None


def read(path: Path) -> Understood:
    """Return the graph; what a file of the same name ending in .yaml says overrules the graph.

    Raises:
        ConfigError: The card beside it cannot be read, or the graph cannot be run here.
        DamagedInput: The file is damaged.
    """
    values, files, notes = read_beside(path)
    card, more = completed(values, path)
    beside = companions(path, card["format"])
    names = {} if "classes" in card else {"classes": class_names(card, path)}
    return Understood(
        _KINDS[card["format"]],
        card,
        (path, *beside, *files),
        graph=path,
        beside=beside,
        examples=names,
        completed_by=place_beside(path),
        notes=(*notes, *more),
    )
