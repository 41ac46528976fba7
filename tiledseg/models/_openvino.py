"""ONNX graphs through OpenVINO, the fastest on CPUs: the only door to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import DamagedInput, MissingBackend, TiledsegError
from ._exported import ExportedModel
from ._fit import Call, Facts, Fit, Port

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
        graph = _read(path)
        fit = self.fit(path, ports_of(graph.inputs), ports_of(graph.outputs))
        mine = threading.local()  # used over and over by one thread, their output too

        def run(x: torch.Tensor) -> torch.Tensor:
            count = fit.batch
            if not hasattr(mine, "requests"):
                calls = len(x) // count
                mine.requests = _Requests(self._compile(path, shape, fit), fit.output, calls, count)
            found: torch.Tensor = mine.requests(x.numpy())
            return found

        return fit.around(run)

    def _compile(self, path: Path, shape: tuple[int, ...], fit: Fit) -> Any:
        graph = _read(path)
        given = fit.given_shape(shape)
        with _told(f"run {path} on an input {given}"):
            graph.reshape({0: given})
            return ov.Core().compile_model(
                graph,
                "CPU",
                {
                    # Without this hint OpenVINO takes bfloat16 by itself where the CPU has it.
                    properties.hint.inference_precision(): _TYPES[self.runtime.precision],
                    properties.inference_num_threads(): self.threads,
                    properties.num_streams(): min(shape[0], self.threads or 1),
                },
            )


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn OpenVINO's errors into one sentence.

    Raises:
        DamagedInput: The file is damaged, or its card is wrong.
        MemoryError: There is no memory.
    """
    try:
        yield
    except TiledsegError:
        raise
    except Exception as error:  # OpenVINO's errors share no base but Exception
        first = " ".join(str(error).split())[:200]
        if "bad_alloc" in first:
            raise MemoryError(first) from None
        raise DamagedInput(
            f"OpenVINO cannot {what}: {first}; the file is damaged, or its card is wrong"
        ) from None


def openvino_facts(path: Path) -> Facts:
    """Return what a graph states.

    Raises:
        DamagedInput: It is none that OpenVINO reads.
    """
    graph = _read(path)
    return Facts(tuple(ports_of(graph.inputs)), tuple(ports_of(graph.outputs)))


def _read(path: Path) -> Any:
    try:
        with _told(f"read {path}"):
            return ov.Core().read_model(str(path))
    except MemoryError:  # what a damaged file asks for
        raise DamagedInput(
            f"OpenVINO has not the memory to read {path}, or it is damaged"
        ) from None


#: Types that OpenVINO names otherwise than numpy.
_NAMES = {
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "boolean": "bool",
}


def ports_of(arguments: list[Any]) -> list[Port]:
    """Return what a graph states of its inputs or outputs."""
    found = []
    for a in arguments:
        rank = a.partial_shape.rank
        shape = a.partial_shape if rank.is_static else ()
        extents = [n.get_length() if n.is_static else None for n in shape]
        kind = a.element_type.get_type_name()
        found.append(Port(next(iter(a.names), "?"), extents, _NAMES.get(kind, kind)))
    return found


class _Requests:
    """Requests that run side by side, and write into one array.

    Args:
        compiled: The compiled graph.
        output: Number of the output that is wanted.
        calls: Requests.
        count: Windows of each.
    """

    def __init__(self, compiled: Any, output: int, calls: int, count: int) -> None:
        self._output, self._count = output, count
        self._requests = [compiled.create_infer_request() for _ in range(calls)]
        port = compiled.output(output)
        self._raw: NDArray[Any] | None = None
        if port.partial_shape.is_static:
            kind = _NAMES[port.element_type.get_type_name()]
            self._raw = np.empty((calls * count, *port.shape[1:]), kind)
            for i, request in enumerate(self._requests):
                part = self._raw[i * count : (i + 1) * count]
                request.set_output_tensor(output, ov.Tensor(part, shared_memory=True))

    def __call__(self, values: NDArray[Any]) -> torch.Tensor:
        """Return the output for inputs (calls * count, ...)."""
        for i, request in enumerate(self._requests):
            part = values[i * self._count : (i + 1) * self._count]
            request.start_async({0: part}, share_inputs=True)
        for error in [_ended(request) for request in self._requests]:  # all, before any is told
            if error is not None:
                raise error
        if self._raw is not None:
            return torch.from_numpy(self._raw)
        parts = [request.get_output_tensor(self._output).data for request in self._requests]
        return torch.from_numpy(np.concatenate(parts))


def _ended(request: Any) -> Exception | None:
    """Wait for a request; return its error."""
    try:
        request.wait()
    except Exception as error:  # OpenVINO's errors share no base but Exception
        return error
    return None
