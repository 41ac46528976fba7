"""A file of weights, and the name of an architecture that the user gives or a card beside it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import torch

from ...errors import DamagedInput
from .._kinds import is_zip, kind_of
from ._beside import place_beside, read_beside
from ._checkpoint import read_checkpoint
from ._understood import Understood

_TORCH = (".pt", ".pth", ".ckpt")
_SUFFIXES = (*_TORCH, ".bin", ".safetensors")
#: Where training scripts put the weights among other values; the first that is there is taken.
_KEYS = ("state_dict", "model_state_dict", "network_weights", "model", "net", "network")
_DEEP = 3
#: How a pickle of protocol 2 or later begins (pickletools: PROTO).
_PICKLE = b"\x80"


def claims(path: Path) -> bool:
    """Return whether this is a file of weights alone."""
    if path.suffix not in _SUFFIXES or not os.path.isfile(path):
        return False
    # Not a zip: whatever it holds, it is no graph, and reading it says what is wrong.
    plain = path.suffix in _TORCH and not is_zip(path)
    return plain or kind_of(path) in ("state_dict", "safetensors")


def read(path: Path) -> Understood:
    """Return the weights; the card is what a file of the same name ending in .yaml says.

    Raises:
        ConfigError: The card beside it cannot be read.
        DamagedInput: It does not begin as such a file does.
    """
    _check_start(path)
    values, files, notes = read_beside(path)
    kind = "state dict"
    if path.suffix == ".safetensors":
        kind = "state dict with no card inside"
    return Understood(
        kind,
        values,
        (path, *files),
        (lambda: state_of(path),),
        completed_by=place_beside(path),
        notes=notes,
    )


def _check_start(path: Path) -> None:
    """Refuse what `torch.save` cannot have written: it writes zip archives, pickles and, once, tar.

    Raises:
        DamagedInput: It begins otherwise.
    """
    if path.suffix == ".safetensors" or is_zip(path) or tarfile.is_tarfile(path):
        return
    with path.open("rb") as file:
        start = file.read(8)
    if not start.startswith(_PICKLE):
        told = f"begins with {start!r}" if start else "is empty"
        raise DamagedInput(f"{path} is not a file of weights that can be read: it {told}")


def state_of(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict in a file, wherever training scripts put it.

    Raises:
        DamagedInput: There is none, or the file asks for code to be run.
    """
    _check_start(path)
    values: Any = read_checkpoint(path)
    keys: list[str] = []
    for _ in range(_DEEP):
        tensors = _tensors(values)
        if tensors:
            return tensors
        keys = list(map(str, values)) if isinstance(values, dict) else []
        inner = next((key for key in _KEYS if key in keys), None)
        if inner is None:
            break
        values = values[inner]
    held = ", ".join(keys[:8]) or type(values).__name__
    raise DamagedInput(
        f"{path} holds no state dict: expected names and tensors, at the top or under "
        f"{', '.join(_KEYS)}; found {held:.200}"
    )


def _tensors(values: Any) -> dict[str, torch.Tensor]:
    """Return names and tensors, or nothing where these values are something else."""
    if not isinstance(values, dict) or any(isinstance(v, dict) for v in values.values()):
        return {}
    return {k: v for k, v in values.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
