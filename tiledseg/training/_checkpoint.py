"""Checkpoints: tensors as safetensors, numbers as JSON in the same file; whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..document import read_values
from ..errors import DamagedInput
from ..io import settle, temporary_beside, writing

_KEY = "tiledseg_training"


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], numbers: Any) -> None:
    """Write a file; an earlier one of that name is there until the new one is whole, on disk.

    Args:
        path: Where; its folder is made.
        tensors: By name.
        numbers: JSON values.

    Raises:
        OutputFailed: It cannot be written; the earlier one is still there.
    """
    partial = temporary_beside(path)
    # Tensors under two names are refused: each gets its own copy.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    with writing(path, (OSError, RuntimeError, SafetensorError)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(copies, partial, {_KEY: json.dumps(numbers)})
            settle(partial, path)
            _folder_to_disk(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """Return what `save_tensors` wrote: tensors on the CPU, and the numbers.

    Raises:
        DamagedInput: It is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise DamagedInput(
            f"{path} is not a checkpoint ({' '.join(str(error).split())}): start again with --fresh"
        ) from None
    if text is None:
        raise DamagedInput(f"{path} is not a checkpoint of a training: start again with --fresh")
    return tensors, read_values(text, f"the numbers in {path}", json.loads)


def _folder_to_disk(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
