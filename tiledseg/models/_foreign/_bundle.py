"""A MONAI bundle: a folder with inference.json or .yaml, metadata.json and weights.

Nothing of it is run. What tiledseg reads is what MONAI would make of it: the network, the windows,
what is done to the image before and to the scores after. Where it finds data, sets up a machine or
writes results is nobody's business here and is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import lcm
from pathlib import Path
from typing import Any

import torch

from ...document import brief
from ...errors import ConfigError
from .._architectures import door_of, find_architecture
from ._bundle_after import After, understand_after, understand_inferer
from ._bundle_before import Before, understand_before
from ._bundle_config import Config, Part
from ._bundle_files import CONFIGS, METADATA, BundleFiles, is_bundle
from ._checkpoint import read_checkpoint
from ._state_dict import state_of
from ._understood import Understood

#: MONAI's networks that are built here, with the axes and channels that are their defaults.
_NETWORKS: dict[str, tuple[str, dict[str, int]]] = {
    "UNet": ("unet", {}),
    "BasicUNet": ("basic_unet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}),
    "SegResNet": ("segresnet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}),
    "DynUNet": ("dynunet", {}),
    "SwinUNETR": ("swin_unetr", {"spatial_dims": 3}),
    "UNETR": ("unetr", {"spatial_dims": 3}),
}
_SIZES = ("spatial_dims", "in_channels", "out_channels")
_WEIGHTS = "models/model.pt"
#: Most keys of a config or nested lists looked through for a loader of weights.
_DEEP = 4


def claims(path: Path) -> bool:
    """Return whether this is a folder with the config and the metadata of a bundle."""
    return is_bundle(path)


def read(path: Path) -> Understood:
    """Return what a bundle is.

    Raises:
        ConfigError: It has something that tiledseg does not do, or would have to run code for.
        DamagedInput: A config is far larger than any.
    """
    files = BundleFiles(path)
    name = next(name for name in CONFIGS if files.has(name))
    try:
        values, metadata = files.values(name), files.values(METADATA)
        config = Config({**values, "bundle_root": ".", "_meta_": metadata}, files.values)
        return _understood(files, config, metadata)
    except ConfigError as error:
        raise ConfigError(f"{path} ({name}): {error}") from None


def _understood(files: BundleFiles, config: Config, metadata: dict[str, Any]) -> Understood:
    network, sizes = _network(config)
    dims, channels, outputs = sizes
    before = understand_before(_transforms(config, "preprocessing"), dims, channels)
    window, tiling = understand_inferer(config.get("inferer"), dims)
    after = understand_after(_transforms(config, "postprocessing"), before.image)
    formats = _dict(metadata, "network_data_format")
    names = _names(_dict(formats, "outputs", "pred"), outputs, "class")
    if outputs == 1:
        names = ["background", names[0]]
    card = {
        "name": str(metadata.get("name") or files.path.stem),
        "format": "tiledseg",
        "dims": dims,
        "channels": _names(_dict(formats, "inputs", before.image or "image"), channels, "channel"),
        "classes": [{"name": name} for name in names],
        "background": 0 if names[0].lower() == "background" else None,
        "window": list(window),
        "multiple": _multiple(network, dims, window),
        "any_size": network["name"] != "unetr",
        "architecture": network,
        "activation": after.activation,
        "single_output": outputs == 1,
        "normalization": before.steps,
        **_spacing(before, after),
        "orientation": before.orientation,
        "tiling": tiling,
        **_origin(metadata),
    }
    state = partial(_state, _weights(files, config), _keys(config))
    notes = (*_told(before, after), *before.notes, *after.notes)
    return Understood("MONAI bundle", card, tuple(files.read), (state,), notes=notes)


def _network(config: Config) -> tuple[dict[str, Any], tuple[int, int, int]]:
    """Return the card's ``architecture``, and axes, channels in and channels out."""
    part = config.get("network_def")
    if not isinstance(part, Part):
        raise ConfigError(f"network_def: expected a network, found {brief(part)}")
    if part.name not in _NETWORKS:
        raise ConfigError(
            f"{part.place}: network {part.target!r} is not known; known are {', '.join(_NETWORKS)}"
        )
    name, defaults = _NETWORKS[part.name]
    given = {**defaults, **part.arguments()}
    sizes = []
    for key in _SIZES:
        size = given.pop(key, None)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"{part.place}: {key} must be a number, found {brief(size)}")
        sizes.append(size)
    if name == "swin_unetr":
        given.pop("img_size", None)  # had no effect, and is gone from MONAI 1.5 on
    return {"name": name, **given}, (sizes[0], sizes[1], sizes[2])


def _multiple(network: dict[str, Any], dims: int, window: tuple[int, ...]) -> int:
    """Return what window extents must be multiples of; 1 where the bundle's own window is none."""
    row = find_architecture(network["name"], None, dims)
    arguments = {k: v for k, v in network.items() if k != "name"}
    if row.name == "unet":
        arguments["features"] = arguments.pop("channels", ())
    try:
        found = lcm(*door_of(row.door).multiple(row.name, dims, arguments))
    except (TypeError, ValueError, KeyError):  # arguments of a wrong kind are told when it is built
        return 1
    return 1 if any(extent % found for extent in window) else found


def _transforms(config: Config, name: str) -> list[Any]:
    """Return the transforms of a Compose, those of nested ones in their place."""
    part = config.get(name)
    if part is None:
        return []
    return list(_composed(part, name, 0))


def _composed(part: Any, place: str, depth: int) -> Iterator[Any]:
    if not isinstance(part, Part) or part.name != "Compose" or depth > _DEEP:
        raise ConfigError(f"{place}: expected a Compose of transforms, found {brief(part)}")
    if part.disabled:
        return
    for item in part.get("transforms") or ():
        nested = isinstance(item, Part) and item.name == "Compose"
        yield from _composed(item, item.place, depth + 1) if nested else (item,)


# --------------------------------------------------------------------- weights


def _loader(config: Config) -> Part | None:
    """Return the CheckpointLoader, wherever in the config it is."""
    return next((p for p in config.parts(_DEEP) if p.name == "CheckpointLoader"), None)


def _weights(files: BundleFiles, config: Config) -> Path:
    """Return the file with the weights."""
    loader = _loader(config)
    name = _WEIGHTS if loader is None else loader.get("load_path")
    if not isinstance(name, str):
        raise ConfigError(f"load_path of the weights must be a name, found {brief(name)}")
    return files.find(name)


def _keys(config: Config) -> tuple[str, ...]:
    """Return the names under which the loader looks for the network's weights."""
    loader = _loader(config)
    return () if loader is None else loader.keys("load_dict")


def _state(file: Path, keys: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return the state dict, under one of these keys or wherever scripts put it.

    Raises:
        DamagedInput: There is none, or the file asks for code to be run.
    """
    values = read_checkpoint(file)
    if isinstance(values, dict) and len(keys) == 1 and isinstance(values.get(keys[0]), dict):
        held = values[keys[0]].items()
        state = {k: v for k, v in held if isinstance(k, str) and isinstance(v, torch.Tensor)}
        if state:
            return state
    return state_of(file)


# --------------------------------------------------------------------- words


def _dict(values: Any, *keys: str) -> dict[str, Any]:
    """Return a dict inside of dicts; empty where there is none."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def _names(described: dict[str, Any], count: int, word: str) -> list[str]:
    """Return the names of channels, each of its own."""
    given = _dict(described, "channel_def")
    names: list[str] = []
    for i in range(count):
        name = given.get(str(i))
        text = name.strip() if isinstance(name, str) and name.strip() else f"{word} {i}"
        names.append(text if text not in names else f"{text} ({i})")
    return names


def _origin(metadata: dict[str, Any]) -> dict[str, str]:
    """Return licence and provenance, as far as the metadata tell them."""
    told = {
        key: " ".join(str(metadata[key]).split())
        for key in ("license", "licence", "authors", "copyright", "data_source", "version")
        if isinstance(metadata.get(key), str | int | float)
    }
    licence = told.pop("license", "") or told.pop("licence", "")
    parts = [f"{key} {value}" for key, value in told.items()]
    return {
        **({"licence": licence} if licence else {}),
        **({"provenance": "MONAI bundle: " + ", ".join(parts)} if parts else {}),
    }


def _spacing(before: Before, after: After) -> dict[str, Any]:
    """Return spacing and resampling; MONAI leaves no image as it is for being nearly right."""
    if before.spacing is None:
        return {}
    scores = "nearest" if after.labels_go_back else before.method
    resampling = {"image": before.method, "scores": scores, "align": "monai", "tolerance": 0.0}
    return {"spacing": list(before.spacing), "resampling": resampling}


def _told(before: Before, after: After) -> Iterator[str]:
    """Yield what was understood."""
    if before.spacing is not None:
        told = " x ".join(f"{s:g}" for s in before.spacing)
        back = "labels go back as the nearest" if after.labels_go_back else "scores go back"
        yield f"images are resampled to {told} mm, {before.method}, as MONAI does; {back}"
    if before.orientation is not None:
        yield f"array axes run to {before.orientation}"
