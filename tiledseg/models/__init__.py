"""Networks ready to run: one file per kind of weights, told by the card."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DamagedInput
from ._base import Activation, Average, Model, ModelCard, Precision, Runtime, RuntimeName
from ._cache import cache_folder, known_sha256, write_whole
from ._card import card_from_dict, card_to_dict, read_card, weights_paths
from ._combine import CombinedModel, combine, turns_of
from ._exported import Graph
from ._locality import Reach, draw_noise, measure_reach
from ._probe import Probe, find_probe, save_probe
from ._runtime import check_runtime, library_versions, reference, runtimes, versions_behind
from ._scores import activate, decide
from ._trial import (
    AGREEMENT,
    FAILURES,
    Trial,
    class_maps,
    fastest_call,
    fastest_trial,
    try_out,
    try_runtime,
)

__all__ = [
    "AGREEMENT",
    "FAILURES",
    "Activation",
    "Average",
    "CombinedModel",
    "Model",
    "ModelCard",
    "Precision",
    "Probe",
    "Reach",
    "Runtime",
    "RuntimeName",
    "Trial",
    "activate",
    "cache_folder",
    "card_from_dict",
    "card_to_dict",
    "class_maps",
    "combine",
    "create_network",
    "decide",
    "draw_noise",
    "fastest_call",
    "fastest_trial",
    "find_card",
    "find_probe",
    "library_versions",
    "load_model",
    "measure_reach",
    "read_card",
    "reference",
    "runtimes",
    "save_model",
    "save_probe",
    "try_out",
    "try_runtime",
    "turns_of",
    "versions_behind",
    "write_whole",
]


def __getattr__(name: str) -> Any:
    """Load what needs MONAI only when it is asked for."""
    if name == "create_network":
        from ._monai import create_network

        return create_network
    if name == "save_model":
        from ._torch import save_model

        return save_model
    raise AttributeError(f"module 'tiledseg.models' has no attribute {name!r}")


def load_model(
    path: str | Path,
    device: str = "cpu",
    threads: int = 1,
    runtime: Runtime | None = None,
    probed: bool = True,
) -> Model:
    """Load a model.

    Args:
        path: Folder with ``model.yaml``, a card (.yaml), a .safetensors file with its card inside,
            or an .onnx file with its card beside it (same name, .yaml).
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Threads of one call, for libraries that ask for it when loading.
        runtime: Library and precision; None takes the model's reference.
        probed: Whether a probe fills in what the card leaves open.

    Raises:
        ConfigError: No such file, or card and weights do not fit together, or this runtime cannot
            run them. Runtimes of exported graphs may say so at the first call only.
        DamagedInput: The weights are damaged, or not those the card was written for.
        MissingBackend: The library that runs this kind of weights is not installed.
    """
    card, weights = _find(Path(path))
    for file in weights:
        if not os.path.isfile(file):
            raise ConfigError(f"card {card.name!r}: there are no weights at {file}")
    card = _identified(card, weights)
    probe = find_probe(path, card.sha256 or "") if probed else None
    card = card if probe is None else probe.complete(card)
    runtime = runtime or reference(card)
    check_runtime(card, device, runtime)
    folds = [
        _load(replace(card, sha256=known_sha256(file)), file, device, threads, runtime)
        for file in weights
    ]
    return combine(folds, turns_of((), False, card.dims), card.average)


def _load(card: ModelCard, weights: Path, device: str, threads: int, runtime: Runtime) -> Model:
    """Load one file of weights."""
    if card.format == "onnx":
        return _graph_model(card, lambda shape: weights, threads, runtime)
    from ._torch import load_network, torch_model

    if runtime.name in ("torch", "compiled"):
        return torch_model(card, load_network(card, weights), device, runtime)
    from ._export import exported

    def graph(shape: tuple[int, ...]) -> Path:
        return exported(lambda: load_network(card, weights), card, shape)

    return _graph_model(card, graph, threads, runtime)


def find_card(path: str | Path) -> ModelCard:
    """Return the card of a model, with the sha256 of its weights where they are there.

    Raises:
        ConfigError: There is no such model, or its card is wrong.
        DamagedInput: The weights are not those the card was written for.
    """
    card, weights = _find(Path(path))
    return _identified(card, weights) if all(map(os.path.isfile, weights)) else card


def _identified(card: ModelCard, weights: tuple[Path, ...]) -> ModelCard:
    digests = [known_sha256(file) for file in weights]
    digest = digests[0]
    if len(digests) > 1:
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    if card.sha256 is not None and card.sha256.lower() != digest:
        raise DamagedInput(
            f"weights {', '.join(map(str, weights))} have sha256 {digest[:12]}..., the card says "
            f"{card.sha256[:12]}...: they are damaged or another version"
        )
    return replace(card, sha256=digest)


def _graph_model(card: ModelCard, graph: Graph, threads: int, runtime: Runtime) -> Model:
    """Return the model of a graph, through the library the runtime names."""
    if runtime.name == "openvino":
        from ._openvino import OpenVinoModel

        return OpenVinoModel(card, runtime, graph, threads)
    from ._onnx import load_onnx

    return load_onnx(card, graph, threads)


def _find(place: Path) -> tuple[ModelCard, tuple[Path, ...]]:
    """Return the card and the places of its weights."""
    if not os.path.exists(place):  # which takes names of any length
        raise ConfigError(f"there is no model at {place}")
    if place.suffix == ".safetensors":
        from ._torch import read_embedded_card

        card = read_embedded_card(place)
        return card, weights_paths(card, place.parent)
    if place.suffix == ".onnx":
        beside = place.with_suffix(".yaml")
        if not beside.is_file():
            raise ConfigError(
                f"{place} needs a card that says what its channels and classes are: write {beside} "
                "(see configs/models)"
            )
        return read_card(beside), (place,)
    card = read_card(place)
    return card, weights_paths(card, place if place.is_dir() else place.parent)
