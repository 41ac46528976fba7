"""Folders that `save_pretrained` of segmentation_models_pytorch writes.

``config.json`` holds the class and its arguments; beside it lie the weights, and what
albumentations saved of the preprocessing where that was done.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...document import brief, read_mapping
from ...errors import ConfigError
from .._architectures import find_architecture, multiple_of
from ._state_dict import state_of
from ._understood import Understood

_CONFIG, _MARK, _LARGEST = "config.json", "_model_class", 1_000_000
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_TRANSFORMS = "albumentations_config_eval.json"
#: Arguments of the config that a card says in other words, or that build nothing for segmentation.
_OTHERS = {
    *(_MARK, "activation", "aux_params", "classes", "in_channels"),
    *("encoder_name", "encoder_weights"),
}
_WINDOW = 512
#: Classes or channels that labels of 16 bits can tell apart.
_MOST = 65534
#: Beyond which a number of a normalisation, or one divided by it, is a slip.
_HUGE = 1e18
#: Mean and standard deviation of ImageNet's RGB in 0 to 1, with which these encoders were trained
#: (https://docs.pytorch.org/vision/stable/models.html); others of the library have their own.
_MEAN, _STD, _BYTE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255.0
_IMAGENET = (
    *("resnet", "resnext", "vgg", "densenet", "efficientnet", "mobilenet", "mobileone"),
    *("se_res", "mit_b"),
)


def claims(path: Path) -> bool:
    """Return whether this is such a folder."""
    config = path / _CONFIG
    if not os.path.isfile(config) or _weights(path) is None:
        return False
    try:
        return config.stat().st_size < _LARGEST and f'"{_MARK}"' in config.read_text("utf-8")
    except (OSError, ValueError):
        return False


def read(path: Path) -> Understood:
    """Return the network of a folder.

    Raises:
        ConfigError: The config is wrong, or its class is not among the architectures here.
        MissingBackend: The library is not installed.
    """
    config, weights = _values(path / _CONFIG), _weights(path)
    if not isinstance(config.get(_MARK), str):
        raise ConfigError(f"{path / _CONFIG}: {_MARK} must name a class, found {brief(config)}")
    notes: list[str] = []
    card = {**_network(path, config), **_scores(config, notes), **_images(path, config, notes)}
    files = tuple(file for name in (_CONFIG, _TRANSFORMS) if (file := path / name).is_file())
    if weights is None:  # gone since it was claimed
        raise ConfigError(f"{path} holds no weights: expected {' or '.join(_WEIGHTS)}")
    state = partial(_state, weights, bool(config.get("aux_params")))
    return Understood(
        "segmentation_models_pytorch folder", card, (weights, *files), (state,), notes=tuple(notes)
    )


def _values(file: Path) -> dict[str, Any]:
    return read_mapping(file, f"file {file}", json.loads)


def _weights(path: Path) -> Path | None:
    return next((file for name in _WEIGHTS if os.path.isfile(file := path / name)), None)


def _state(weights: Path, auxiliary: bool) -> dict[str, torch.Tensor]:
    """Return the weights, without those of a head that classifies whole images."""
    state = state_of(weights)
    if not auxiliary:
        return state
    return {k: v for k, v in state.items() if not k.startswith("classification_head.")}


def _network(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return architecture, multiple and window."""
    name = str(config[_MARK]).lower()  # the library's classes are named as the architectures here
    arguments = {k: v for k, v in config.items() if k not in _OTHERS}
    if "decoder_use_batchnorm" in arguments:  # what releases before 0.4 wrote
        arguments["decoder_use_norm"] = arguments.pop("decoder_use_batchnorm")
    encoder = config.get("encoder_name")
    try:
        row = find_architecture(name, encoder, 2)
        multiple = max(multiple_of(row, 2, arguments))
    except ConfigError as error:
        raise ConfigError(f"{path / _CONFIG}: {error}") from None
    return {
        "dims": 2,
        "architecture": {"name": name, "encoder": encoder, **arguments},
        "multiple": multiple,
        "window": [-(-_WINDOW // multiple) * multiple] * 2,
    }


def _scores(config: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return classes and activation; the network's own activation is never part of it."""
    count, activation = _count(config, "classes"), config.get("activation")
    notes.append("the folder does not name its classes: they are numbered")
    if count == 1:
        classes = [{"name": "background"}, {"name": "class 1"}]
        return {"classes": classes, "single_output": True, "activation": "sigmoid"}
    sigmoid = activation in ("sigmoid", "logsigmoid")
    if activation is None:
        notes.append("the folder names no activation: softmax, one class per sample")
    return {
        "classes": [{"name": f"class {i}"} for i in range(count)],
        "activation": "sigmoid" if sigmoid else "softmax",
    }


def _count(config: dict[str, Any], key: str) -> int:
    """Return a number of classes or channels.

    Raises:
        ConfigError: It is none.
    """
    count = config.get(key)
    if type(count) is not int or not 1 <= count <= _MOST:
        told = f"expected a whole number, 1 to {_MOST}, found {brief(count)}"
        raise ConfigError(f"{_CONFIG}: {key}: {told}")
    return count


def _images(path: Path, config: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return channels and normalisation."""
    count = _count(config, "in_channels")
    encoder = str(config.get("encoder_name"))
    pretrained = config.get("encoder_weights")
    steps: list[dict[str, Any]] = []
    if (path / _TRANSFORMS).is_file():
        steps = _transforms(path / _TRANSFORMS, notes)
    elif pretrained == "imagenet" and count == 3 and encoder.startswith(_IMAGENET):
        steps = [_standard(_MEAN, _STD, _BYTE)]
        notes.append(
            "normalised as the images of 8-bit RGB that the encoder was trained on first (imagenet)"
        )
    else:
        notes.append(
            "the folder does not say how images are normalised: they are taken as they are"
        )
    if count == 3:
        return {"channels": ["red", "green", "blue"], "normalization": steps}
    return {"channels": [f"channel {i}" for i in range(1, count + 1)], "normalization": steps}


def _standard(mean: Any, std: Any, largest: float) -> dict[str, Any]:
    """Return the step ``(x / largest - mean) / std``."""
    return {
        "kind": "linear",
        "scale": [1.0 / (largest * s) for s in std],
        "offset": [-m / s for m, s in zip(mean, std, strict=True)],
    }


def _transforms(file: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Return the normalisation among the transforms that albumentations saved.

    Raises:
        ConfigError: It is not of the standard form.
    """
    whole = _values(file).get("transform")
    listed = whole.get("transforms", [whole]) if isinstance(whole, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ConfigError(f"{file}: expected a transform, or a list of them, found {brief(whole)}")
    steps, others = [], []
    for one in listed:
        name = str(one.get("__class_fullname__", "")).rpartition(".")[2]
        if name != "Normalize":
            others.append(name)
            continue
        mean, std, largest = one.get("mean"), one.get("std"), one.get("max_pixel_value", _BYTE)
        if one.get("normalization", "standard") != "standard" or not _numbers(mean, std, largest):
            raise ConfigError(f"{file}: Normalize {brief(one)} is not of the standard form")
        steps.append(_standard(mean, std, largest))
    done = ", ".join(n for n in others if n not in ("ToTensorV2", "PadIfNeeded"))
    if done:
        notes.append(f"transforms of {file.name} that are not done: {done}")
    return steps


def _numbers(mean: Any, std: Any, largest: Any) -> bool:
    lists = isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) > 0
    plain = lists and all(type(v) in (int, float) for v in (*mean, *std, largest))
    usual = plain and all(1 / _HUGE <= v <= _HUGE for v in (*std, largest))
    return usual and all(abs(m) <= _HUGE for m in mean)
