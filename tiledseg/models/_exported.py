"""What runtimes of exported graphs have in common: one graph per window shape, made when needed."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from ..errors import ConfigError
from ._base import Model, ModelCard, Runtime

#: Where the ONNX file for an input (1, c, *window) is.
Graph = Callable[[tuple[int, ...]], Path]
#: Runs windows (n, c, *window) and returns raw outputs (n, k, *window).
Call = Callable[[torch.Tensor], torch.Tensor]
K = TypeVar("K")
V = TypeVar("V")
#: Shapes whose graphs are kept loaded: those of an input that ends and of one that begins.
_SHAPES = 4


def recent(kept: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """Return what is kept under a key, made if it is not there; only the latest used are kept.

    Small images of many extents, one after the other, would else fill the memory with graphs.
    """
    value = kept.pop(key) if key in kept else make()
    kept[key] = value
    if len(kept) > _SHAPES:
        del kept[next(iter(kept))]
    return value


#: What ONNX Runtime and OpenVINO call float32.
_FLOAT = ("tensor(float)", "f32")


class Port(NamedTuple):
    """An input or output of a graph; a free extent is None or a name."""

    name: str
    shape: Sequence[int | str | None]
    kind: str

    def __str__(self) -> str:
        return f"{self.name!r} {self.kind} [{', '.join(str(n or '?') for n in self.shape)}]"


def check_graph(card: ModelCard, path: Path, inputs: list[Port], outputs: list[Port]) -> None:
    """Compare what a file states with its card; a fixed extent is a number there.

    The shape of the output is checked at the first call: files often leave it open.

    Raises:
        ConfigError: It does not take one float32 image like the card's, or gives no float32.
    """
    said = ["n", len(card.channels), *(("any",) * card.dims if card.any_size else card.window)]
    if len(inputs) != 1 or not _fits(inputs[0], said):
        raise ConfigError(
            f"{path} takes {', '.join(map(str, inputs)) or 'nothing'}, the card says one float "
            f"image {said}: correct its channels, dims, window or any_size"
        )
    if not outputs or outputs[0].kind not in _FLOAT:
        raise ConfigError(
            f"{path} gives {', '.join(map(str, outputs)) or 'nothing'}, expected float scores "
            "first: export it without its arg max, in float32"
        )


def _fits(port: Port, said: list[Any]) -> bool:
    """Return whether a port is what the card says; a graph for one window serves any number."""
    if port.kind not in _FLOAT or len(port.shape) != len(said):
        return False
    fixed = [(n, wanted) for n, wanted in zip(port.shape, said, strict=True) if isinstance(n, int)]
    return all(n == wanted or (n, wanted) == (1, "n") for n, wanted in fixed)


class ExportedModel(Model):
    """A graph in a library of its own, on the CPU.

    Every window is a call of its own: a graph has one extent, and a sample's bits cannot depend on
    what it shares a microbatch with.

    Args:
        card: Its card.
        runtime: Library and precision.
        graph: Gives the ONNX file for a shape.
        threads: Threads of one call.
    """

    device = torch.device("cpu")

    def __init__(self, card: ModelCard, runtime: Runtime, graph: Graph, threads: int) -> None:
        self.card, self.runtime, self.threads = card, runtime, threads
        self._graph = graph
        self._calls: dict[tuple[int, ...], Call] = {}
        self._lock = threading.Lock()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw outputs (n, k, *window) for inputs (n, c, *window)."""
        shape = tuple(x.shape)
        with self._lock:
            call = recent(
                self._calls, shape, lambda: self._prepare(self._graph((1, *shape[1:])), shape)
            )
        return call(x.contiguous())

    @abstractmethod
    def _prepare(self, path: Path, shape: tuple[int, ...]) -> Call:
        """Load the graph at ``path`` for inputs of ``shape``, (n, c, *window)."""
