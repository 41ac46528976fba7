"""ONNX graphs through OpenVINO, the fastest on CPUs: the only door to it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import DamagedInput, MissingBackend, TiledsegError
from ._exported import Call, ExportedModel, Port, check_graph

try:
    import openvino as ov
    from openvino import properties
except ImportError:
    raise MissingBackend("openvino", "openvino", "--runtime openvino") from None

_TYPES = {"fp32": ov.Type.f32, "bf16": ov.Type.bf16}


class OpenVinoModel(ExportedModel):
    """A graph in OpenVINO on the CPU.

    The windows of a microbatch run side by side, each on its share of the threads: less time goes
    into waiting for one another than when all threads work on one window. Every thread that calls
    has a compiled graph of its own, because one graph has `threads` threads for all its callers.
    """

    def _prepare(self, path: Path, shape: tuple[int, ...]) -> Call:
        mine = threading.local()  # used over and over by one thread, their output too

        def call(x: torch.Tensor) -> torch.Tensor:
            if not hasattr(mine, "requests"):
                mine.requests, mine.raw = _requests(self._compile(path, shape), len(x))
            values = x.numpy()
            for i, request in enumerate(mine.requests):
                request.start_async({0: values[i : i + 1]}, share_inputs=True)
            for error in [_ended(request) for request in mine.requests]:  # all, before any is told
                if error is not None:
                    raise error
            return torch.from_numpy(mine.raw)

        return call

    def _compile(self, path: Path, shape: tuple[int, ...]) -> Any:
        core = ov.Core()
        try:
            graph = core.read_model(str(path))
            if self.card.format == "onnx":
                check_graph(self.card, path, _ports(graph.inputs), _ports(graph.outputs))
            graph.reshape({0: [1, *shape[1:]]})
            return core.compile_model(
                graph,
                "CPU",
                {
                    # Without this hint OpenVINO takes bfloat16 by itself where the CPU has it.
                    properties.hint.inference_precision(): _TYPES[self.runtime.precision],
                    properties.inference_num_threads(): self.threads,
                    properties.num_streams(): min(shape[0], self.threads or 1),
                },
            )
        except TiledsegError:
            raise
        except Exception as error:  # OpenVINO's errors share no base but Exception
            first = " ".join(str(error).split())[:200]
            if "bad_alloc" in first:
                raise MemoryError(first) from None
            raise DamagedInput(
                f"OpenVINO cannot run {path} on an input {[1, *shape[1:]]}: {first}; the file is "
                "damaged, or its card is wrong"
            ) from None


def _ports(arguments: list[Any]) -> list[Port]:
    found = []
    for a in arguments:
        rank = a.partial_shape.rank
        shape = a.partial_shape if rank.is_static else ()
        extents = [n.get_length() if n.is_static else None for n in shape]
        found.append(Port(next(iter(a.names), "?"), extents, a.element_type.get_type_name()))
    return found


def _ended(request: Any) -> Exception | None:
    """Wait for a request; return its error."""
    try:
        request.wait()
    except Exception as error:  # OpenVINO's errors share no base but Exception
        return error
    return None


def _requests(compiled: Any, count: int) -> tuple[list[Any], NDArray[np.float32]]:
    """Return requests that all write into one array, (count, k, *window), and that array."""
    raw = np.empty((count, *compiled.output(0).shape[1:]), np.float32)
    requests = [compiled.create_infer_request() for _ in range(count)]
    for i, request in enumerate(requests):
        request.set_output_tensor(0, ov.Tensor(raw[i : i + 1], shared_memory=True))
    return requests, raw
