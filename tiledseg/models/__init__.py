"""Networks ready to run: one file per kind of weights, told by the card."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ._architectures import (
    ARCHITECTURE_COLUMNS,
    ARCHITECTURES,
    architecture_rows,
    find_architectures,
    usual_locality,
)
from ._base import Activation, Average, Model, ModelCard, Precision, Runtime, RuntimeName
from ._bundled import BUNDLED_COLUMNS, bundled_folder, bundled_models, bundled_rows
from ._cache import cache_folder, write_whole
from ._card import TRAINING, card_from_dict, card_to_dict, read_card
from ._combine import CombinedModel, combine, turns_of
from ._create import arguments_of, create_model, create_network, multiples_of
from ._detector import Detector, Seen, mask_rcnn
from ._device import find_device, using_threads
from ._exported import Graph
from ._find import Fold, describe_model, find_model, identified, is_model, model_files
from ._foreign import Understood, understand
from ._import import Imported, import_model
from ._limits import limits_of
from ._locality import Reach, draw_noise, measure_reach
from ._probe import Probe, find_probe, save_probe
from ._runtime import check_runtime, library_versions, reference, runtimes, versions_behind
from ._scores import activate, admit, decide, paint
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

if TYPE_CHECKING:
    from ._foreign._bundle_own import Case as Case
    from ._foreign._bundle_own import OwnBundle as OwnBundle

__all__ = [
    "AGREEMENT",
    "ARCHITECTURES",
    "ARCHITECTURE_COLUMNS",
    "BUNDLED_COLUMNS",
    "FAILURES",
    "TRAINING",
    "Activation",
    "Average",
    "CombinedModel",
    "Detector",
    "Imported",
    "Model",
    "ModelCard",
    "Precision",
    "Probe",
    "Reach",
    "Runtime",
    "RuntimeName",
    "Seen",
    "Trial",
    "Understood",
    "activate",
    "admit",
    "architecture_rows",
    "arguments_of",
    "bundled_folder",
    "bundled_models",
    "bundled_rows",
    "cache_folder",
    "card_from_dict",
    "card_to_dict",
    "class_maps",
    "combine",
    "create_model",
    "create_network",
    "decide",
    "describe_model",
    "draw_noise",
    "fast_layout",
    "fastest_call",
    "fastest_trial",
    "find_architectures",
    "find_card",
    "find_device",
    "find_probe",
    "import_model",
    "is_model",
    "library_versions",
    "limits_of",
    "load_model",
    "mask_rcnn",
    "measure_reach",
    "model_files",
    "multiples_of",
    "own_bundle",
    "paint",
    "read_card",
    "reference",
    "runtimes",
    "save_model",
    "save_probe",
    "torch_model",
    "try_out",
    "try_runtime",
    "turns_of",
    "understand",
    "using_threads",
    "usual_locality",
    "versions_behind",
    "write_whole",
]


def __getattr__(name: str) -> Any:
    """Load what needs networks only when it is asked for."""
    if name in ("fast_layout", "save_model", "torch_model"):
        from . import _torch

        return getattr(_torch, name)
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
        path: Name of a bundled model, folder with ``model.yaml``, a card (.yaml), a .safetensors
            file with its card inside, a graph file (.onnx, .xml, TorchScript, .pt2), or a model of
            another tool. A card beside a file (same name, .yaml) says what the file does not.
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
    card, folds = find_model(Path(path))
    for fold in folds:
        if not os.path.isfile(fold.file):
            raise ConfigError(f"card {card.name!r}: there are no weights at {fold.file}")
    card = identified(card, folds)
    probe = find_probe(path, card.sha256 or "") if probed else None
    card = card if probe is None else probe.complete(card)
    runtime = runtime or reference(card)
    check_runtime(card, device, runtime)
    loaded = [
        _load(replace(card, sha256=fold.sha256), fold, device, threads, runtime) for fold in folds
    ]
    return combine(loaded, turns_of((), False, card.dims), card.average)


def _load(card: ModelCard, fold: Fold, device: str, threads: int, runtime: Runtime) -> Model:
    """Load one network."""
    state = fold.state
    if card.format in ("torchscript", "pt2"):
        from ._torch_graph import load_torch_graph

        return load_torch_graph(card, fold.file, device)
    if state is None:
        return _graph_model(card, lambda shape: fold.file, threads, runtime)
    from ._torch import load_network, torch_model

    network = partial(load_network, card, state, str(fold.file))
    if runtime.name in ("torch", "compiled"):
        return torch_model(card, network(), device, runtime)
    from ._export import exported

    return _graph_model(card, lambda shape: exported(network, card, shape), threads, runtime)


def find_card(path: str | Path) -> ModelCard:
    """Return the card of a model, with the sha256 of its weights where they are there.

    Raises:
        ConfigError: There is no such model, or its card is wrong.
        DamagedInput: The weights are not those the card was written for.
    """
    card, folds = find_model(Path(path))
    return identified(card, folds) if all(os.path.isfile(fold.file) for fold in folds) else card


def own_bundle(path: str | Path) -> OwnBundle:
    """Return a MONAI bundle that runs its own code, which may do all that the caller may.

    Raises:
        ConfigError: It is no bundle, or its code fails.
        DamagedInput: A file of it is not what it claims to be.
    """
    from ._foreign._bundle_own import OwnBundle

    return OwnBundle(Path(path))


def _graph_model(card: ModelCard, graph: Graph, threads: int, runtime: Runtime) -> Model:
    """Return the model of a graph, through the library the runtime names."""
    if runtime.name == "openvino":
        from ._openvino import OpenVinoModel

        return OpenVinoModel(card, runtime, graph, threads)
    from ._onnx import load_onnx

    return load_onnx(card, graph, threads)
