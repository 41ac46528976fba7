"""The network of a MONAI bundle, and where its weights are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import lcm
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...document import brief
from ...errors import ConfigError
from .._architectures import door_of, find_architecture
from .._kinds import kind_of
from .._state import State
from ._bundle_config import Config, Part
from ._bundle_expression import NeedsCode
from ._bundle_files import BundleFiles
from ._checkpoint import read_checkpoint
from ._state_dict import state_of

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
_WEIGHTS, _SCRIPT = "models/model.pt", "models/model.ts"
#: Lists and dicts inside of others that are looked through for a loader of weights.
_DEEP = 4


class Sizes(NamedTuple):
    """Spatial axes, channels in and channels out."""

    dims: int
    channels: int
    outputs: int


class Net(NamedTuple):
    """A network.

    Args:
        sizes: Its axes and channels.
        card: Keys of the card that tell it.
        state: Reads the weights, or None where there is a graph.
        graph: TorchScript archive to run, or None.
        notes: What should be known.
    """

    sizes: Sizes
    card: dict[str, Any]
    state: State | None
    graph: Path | None
    notes: tuple[str, ...] = ()


def understand_network(
    config: Config, files: BundleFiles, formats: Mapping[str, Any], window: tuple[int, ...]
) -> Net:
    """Return the network of ``network_def``; one of the bundle's own is its TorchScript archive.

    Args:
        config: The bundle's.
        files: The bundle's.
        formats: ``network_data_format`` of the metadata.
        window: Extents of a window.

    Raises:
        ConfigError: It is no network, or its sizes or weights are not there.
        NeedsCode: It is not known, and there is no archive.
    """
    part = config.get("network_def")
    known = isinstance(part, Part) and part.name in _NETWORKS
    if not known and files.has(_SCRIPT):
        graph = files.find(_SCRIPT)
        if kind_of(graph) != "torchscript":
            raise ConfigError(f"{_SCRIPT} is no TorchScript archive")
        note = "the network is one of the bundle's own: its TorchScript archive is run"
        return Net(_stated(formats, len(window)), {"format": "torchscript"}, None, graph, (note,))
    if not isinstance(part, Part):
        raise ConfigError(f"network_def: expected a network, found {brief(part)}")
    if not known:
        raise NeedsCode(
            f"{part.place}: network {part.target!r} is not known; known are "
            f"{', '.join(_NETWORKS)}, and those with a TorchScript archive {_SCRIPT}"
        )
    sizes, network = _built(part)
    card = {
        "format": "tiledseg",
        "architecture": network,
        "multiple": _multiple(network, sizes.dims, window),
        "any_size": network["name"] != "unetr",
    }
    return Net(sizes, card, partial(_state, _weights(files, config), _keys(config)), None)


def stated_network(
    config: Config, files: BundleFiles, formats: Mapping[str, Any], window: tuple[int, ...]
) -> Net:
    """Return a network that is not known, as far as the metadata tell it.

    Args and errors are those of `understand_network`. The card names no architecture.
    """
    card = {"format": "tiledseg", "any_size": False}
    state = partial(_state, _weights(files, config), _keys(config))
    return Net(_stated(formats, len(window)), card, state, None)


def _built(part: Part) -> tuple[Sizes, dict[str, Any]]:
    """Return sizes, and the card's ``architecture``."""
    name, defaults = _NETWORKS[part.name]
    given = {**defaults, **part.arguments()}
    sizes = Sizes(*(_size(given.pop(key, None), f"{part.place}: {key}") for key in _SIZES))
    if name == "swin_unetr":
        given.pop("img_size", None)  # had no effect, and is gone from MONAI 1.5 on
    return sizes, {"name": name, **given}


def _stated(formats: Mapping[str, Any], dims: int) -> Sizes:
    """Return the sizes that the metadata tell of the first input, and of ``pred``."""
    counts = []
    for kind, wanted in (("inputs", None), ("outputs", "pred")):
        told = formats.get(kind)
        told = told if isinstance(told, dict) else {}
        one = told.get(wanted or next(iter(told), None))
        count = one.get("num_channels") if isinstance(one, dict) else None
        counts.append(_size(count, f"num_channels of the {kind} in the metadata"))
    return Sizes(dims, *counts)


def _size(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a number, found {brief(value)}")
    return value


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
    return files.find(name.removeprefix(f"{files.path.as_posix()}/"))


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
