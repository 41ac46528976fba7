"""What runtimes of exported graphs have in common: one graph per window shape, made when needed."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from ._base import Model, ModelCard, Runtime
from ._fit import Call, Fit, Port, fit_of

#: Where the file of the graph for an input (1, c, *window) is.
Graph = Callable[[tuple[int, ...]], Path]
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


class ExportedModel(Model):
    """A graph in a library of its own, on the CPU.

    Every window is a call of its own: a graph has one extent, and a sample's bits cannot depend on
    what it shares a microbatch with.

    Args:
        card: Its card.
        runtime: Library and precision.
        graph: Gives the file for a shape.
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

    def fit(self, path: Path, inputs: list[Port], outputs: list[Port]) -> Fit:
        """Return how a graph fits the card; one that was exported here fits as it is.

        Raises:
            ConfigError: It does not.
        """
        if self.card.format == "tiledseg":
            return Fit(self.card, str(path))
        return fit_of(self.card, str(path), inputs, outputs)

    @abstractmethod
    def _prepare(self, path: Path, shape: tuple[int, ...]) -> Call:
        """Load the graph at ``path`` for inputs of ``shape``, (n, c, *window)."""
