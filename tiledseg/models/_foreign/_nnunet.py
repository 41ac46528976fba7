"""A trained model of nnU-Net v2: the folder ``DatasetXXX_Name/Trainer__Plans__configuration``.

    plans.json, dataset.json, fold_*/checkpoint_final.pth

Nothing of nnU-Net is run. Checkpoints are pickles: they are read as tensors and plain values, and
what else they hold is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from ...document import read_values
from ...errors import ConfigError, DamagedInput
from .._nnunet_nets import plain_names
from ._checkpoint import read_checkpoint
from ._nnunet_after import after_of
from ._nnunet_plans import card_of, configuration
from ._understood import Understood

_KIND = "nnU-Net v2 model"
_FINAL, _BEST = "checkpoint_final.pth", "checkpoint_best.pth"
#: Trainers whose network is not that of the plans, apart from nnUNetTrainerBN.
_OTHER = ("primus", "eva", "dinov2")


def claims(path: Path) -> bool:
    """Return whether a folder is a trained model of nnU-Net v2."""
    needed = ("plans.json", "dataset.json")
    return all(os.path.isfile(path / name) for name in needed) and any(_checkpoints(path))


def read(path: Path) -> Understood:
    """Return a model in the words of tiledseg.

    Raises:
        ConfigError: It cannot be run here.
        DamagedInput: A file is not what it should be.
    """
    files, notes = _folds(path)
    plans, dataset = (_json(path / name) for name in ("plans.json", "dataset.json"))
    first = _header(files[0], os.stat(files[0]).st_mtime_ns)
    name = str(first["configuration"])
    try:
        chosen = configuration(plans, name)
        _require_network(first["trainer"])
        card = card_of(plans, dataset, chosen, first["trainer"], first["mirror"])
        if card["previous"] is not None:
            # Folders are called Trainer__Plans__configuration.
            start = path.absolute().name.rpartition("__")[0]
            card["previous"]["model"] = f"{start}__{chosen['previous_stage']}"
    except ConfigError as error:
        raise ConfigError(f"{path} ({_KIND}): {error}") from None
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise DamagedInput(
            f"{path} ({_KIND}): its plans.json or dataset.json lacks something, or has it in "
            f"another form ({type(error).__name__}: {str(error)[:100]})"
        ) from None
    steps, after = after_of(path, card["classes"])
    told = [
        f"configuration {name} of {plans.get('dataset_name', path.parent.name)}, trained by "
        f"{first['trainer']}, {len(files)} fold{'s' * (len(files) > 1)}",
        *notes,
        *after,
    ]
    return Understood(
        kind=_KIND,
        card={
            **card,
            "name": f"{plans.get('dataset_name', path.parent.name)} {name}",
            "postprocess": steps,
        },
        files=(path / "plans.json", path / "dataset.json", *files),
        states=tuple(partial(_state, file) for file in files),
        notes=tuple(told),
    )


def _checkpoints(path: Path) -> Iterator[Path]:
    return path.glob("fold_*/checkpoint_*.pth")


def _folds(path: Path) -> tuple[list[Path], list[str]]:
    """Return the checkpoints to use, as nnU-Net finds them, and notes on others."""
    final = sorted(p for p in _checkpoints(path) if p.name == _FINAL)
    several = [p for p in final if p.parent.name != "fold_all"]
    if several:
        left = [p.parent.name for p in final if p not in several]
        return several, [f"{name} was left out beside the others" for name in left]
    if final:
        return final, []
    best = sorted(p for p in _checkpoints(path) if p.name == _BEST)
    if best:
        return best, [f"there is no {_FINAL}: {_BEST} was taken"]
    raise ConfigError(f"{path} ({_KIND}): no fold has a {_FINAL}")


def _json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds.

    Raises:
        DamagedInput: It is none, or no mapping.
    """
    try:
        values = read_values(path.read_text(encoding="utf-8"), str(path), json.loads)
    except (OSError, ValueError, ConfigError) as error:
        raise DamagedInput(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(values, dict):
        raise DamagedInput(f"{path}: expected keys and values")
    return values


def _checkpoint(path: Path) -> Mapping[str, Any]:
    """Return what a checkpoint holds.

    Raises:
        DamagedInput: It is none of nnU-Net's.
    """
    found = read_checkpoint(path)
    needed = {"network_weights", "trainer_name", "init_args"}
    if not isinstance(found, Mapping) or not needed <= set(found):
        raise DamagedInput(f"{path} is no checkpoint of nnU-Net: it lacks {sorted(needed)}")
    return found


@lru_cache(maxsize=8)
def _header(path: Path, changed: int) -> dict[str, Any]:
    """Return what a checkpoint says besides weights; ``changed`` is when it was written.

    Raises:
        DamagedInput: It says nothing of the kind.
    """
    found = _checkpoint(path)
    mirror = found.get("inference_allowed_mirroring_axes") or ()
    try:
        return {
            "trainer": str(found["trainer_name"]),
            "configuration": found["init_args"]["configuration"],
            "mirror": tuple(int(axis) for axis in mirror),
        }
    except (KeyError, TypeError, ValueError):
        raise DamagedInput(f"{path} does not say which configuration it was trained for") from None


def _state(path: Path) -> dict[str, torch.Tensor]:
    weights = _checkpoint(path)["network_weights"]
    if not isinstance(weights, Mapping):
        raise DamagedInput(f"{path} holds no weights")
    return plain_names(weights)


def _require_network(trainer: str) -> None:
    """Refuse networks that are not those of the plans.

    Raises:
        ConfigError: It is one of these.
    """
    if any(name in trainer.lower() for name in _OTHER):
        raise ConfigError(f"its trainer {trainer} builds a network of its own, which is not here")
