"""A torch network -> ONNX file in the user's cache, for the runtimes that need one."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from ..errors import ConfigError, MissingBackend
from ._base import ModelCard
from ._cache import cache_folder, file_sha256, writing_cache
from ._runtime import library_versions
from ._symbolic import more_operators


def exported(network: Callable[[], nn.Module], card: ModelCard, shape: tuple[int, ...]) -> Path:
    """Return the ONNX file of a network for one window, made now if the cache has none.

    Its name holds the sha256 of all it depends on (weights, architecture, shape, libraries) and of
    its own bytes: most flipped bits would show in a wrong map only. A damaged file is made anew.

    Args:
        network: Builds the network, in evaluation mode, where it is needed.
        card: Its card, with the sha256 of the weights.
        shape: Input of the graph, (1, c, *window). Extents are fixed: networks ask for them while
            they run, and a graph with free extents is slower.

    Raises:
        ConfigError: torch cannot export this network.
        MissingBackend: The package that torch's exporter needs is not installed.
        OutputFailed: The cache cannot be written.
    """
    versions = library_versions(("segmentation_models_pytorch", "timm", "torchvision"))
    others = ("tiledseg", "onnxruntime", "openvino")  # which change no graph
    libraries = {k: v for k, v in versions.items() if k not in others}
    known = [card.sha256, card.architecture, shape, libraries]
    key = json.dumps(known, sort_keys=True)
    folder, prefix = cache_folder() / "onnx", hashlib.sha256(key.encode()).hexdigest()[:32]
    with writing_cache(folder):
        for path in folder.glob(f"{prefix}-*.onnx"):
            with contextlib.suppress(FileNotFoundError):  # another process found it damaged too
                if path.name == _name(prefix, path):
                    return path
                path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as made:
            graph = Path(made, "graph.onnx")
            _export(network(), card, shape, graph)
            return graph.replace(folder / _name(prefix, graph))


def _name(prefix: str, path: Path) -> str:
    return f"{prefix}-{file_sha256(path)[:32]}.onnx"


def _export(network: nn.Module, card: ModelCard, shape: tuple[int, ...], path: Path) -> None:
    if find_spec("onnx") is None:
        raise MissingBackend("onnx", "onnx", "the export to ONNX")
    silence = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), silence, torch.inference_mode(), more_operators():
        warnings.simplefilter("ignore")  # tracing warns of every extent it takes as fixed
        try:
            # The tracing exporter: a second where the other takes several, and no onnxscript.
            torch.onnx.export(
                network,
                (torch.zeros(shape),),
                str(path),
                dynamo=False,
                input_names=["x"],
                output_names=["y"],
            )
        except Exception as error:  # the exporter's errors share no base but Exception
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"model {card.name!r} cannot be exported to ONNX ({reason}): use --runtime torch"
            ) from None
