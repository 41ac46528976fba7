"""Which libraries and precisions can run a model, by names that users write.

The *reference* of a model is the plainest way to run it, in float32: torch eager for a network,
ONNX Runtime for an ONNX file, its own library for any other graph. Everything else is measured
against it.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec

from ..errors import ConfigError
from ._architectures import packages_of
from ._base import ModelCard, Runtime

_ON_CPU = {
    "tiledseg": (
        Runtime("torch"),
        Runtime("torch", "bf16"),
        Runtime("compiled"),
        Runtime("compiled", "bf16"),
        Runtime("onnxruntime"),
        Runtime("openvino"),
        Runtime("openvino", "bf16"),
    ),
    "onnx": (Runtime("onnxruntime"), Runtime("openvino"), Runtime("openvino", "bf16")),
    "openvino": (Runtime("openvino"), Runtime("openvino", "bf16")),
    "torchscript": (Runtime("torch"),),
    "pt2": (Runtime("torch"),),
}
_ON_CUDA = {
    "tiledseg": (
        Runtime("torch"),
        Runtime("torch", "bf16"),
        Runtime("torch", "fp16"),
        Runtime("compiled"),
        Runtime("compiled", "bf16"),
        Runtime("compiled", "fp16"),
    ),
    "torchscript": (Runtime("torch"),),
    "pt2": (Runtime("torch"),),
}
#: Libraries that run exported graphs.
_GRAPHS = ("onnxruntime", "openvino")
#: Package a runtime needs besides torch. The exporter of torch needs onnx itself.
_NEEDS = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx")}


def reference(card: ModelCard) -> Runtime:
    """Return the plainest way to run a model, against which the others are measured."""
    return _ON_CPU[card.format][0]


def runtimes(card: ModelCard, device: str) -> tuple[Runtime, ...]:
    """Return the ways to run a model that are installed, its reference first."""
    known = _known(card, device)
    return tuple(r for r in known if all(find_spec(p) for p in _packages(card, r)))


def check_runtime(card: ModelCard, device: str, runtime: Runtime) -> None:
    """Refuse a way to run a model that there is not.

    Raises:
        ConfigError: This kind of model, or this device, is never run that way.
    """
    known = _known(card, device)
    if not known:
        raise ConfigError(
            f"model {card.name!r} (format {card.format}) runs on the cpu only, not on {device}"
        )
    if runtime not in known:
        raise ConfigError(
            f"runtime {runtime} cannot run model {card.name!r} (format {card.format}) on "
            f"{device}: choose one of {', '.join(map(str, known))}"
        )


def _known(card: ModelCard, device: str) -> tuple[Runtime, ...]:
    if device == "cpu":
        return _ON_CPU[card.format]
    return _ON_CUDA.get(card.format, ())


def _packages(card: ModelCard, runtime: Runtime) -> tuple[str, ...]:
    packages = _NEEDS.get(runtime.name, ())
    return packages if card.format == "tiledseg" else packages[:1]


def library_versions(others: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the versions of the libraries that speed and bits depend on, and of others."""
    found = {}
    for name in ("tiledseg", "torch", "monai", *_GRAPHS, *others):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def versions_behind(runtime: Runtime, card: ModelCard) -> dict[str, str]:
    """Return the versions of the libraries that the bits of a model in a runtime depend on."""
    found = library_versions(packages_of(card.architecture, card.dims))
    return {k: v for k, v in found.items() if k not in _GRAPHS or k == runtime.name}
