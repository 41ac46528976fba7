"""ONNX graphs through ONNX Runtime: the only door to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import DamagedInput, MissingBackend
from ._base import ModelCard, Runtime
from ._exported import Call, ExportedModel, Graph, Port, check_graph, recent

try:
    import onnxruntime as ort
except ImportError:
    raise MissingBackend("onnxruntime", "onnx", "--runtime onnxruntime") from None


class OnnxModel(ExportedModel):
    """A graph in ONNX Runtime, float32."""

    def __init__(self, card: ModelCard, graph: Graph, threads: int) -> None:
        super().__init__(card, Runtime("onnxruntime"), graph, threads)
        self._sessions: dict[Path, ort.InferenceSession] = {}

    def session(self, path: Path) -> ort.InferenceSession:
        """Return the session of a file: one for all numbers of windows, which run one by one."""
        return recent(self._sessions, path, lambda: _session(path, self.threads or 1))

    def _prepare(self, path: Path, shape: tuple[int, ...]) -> Call:
        session = self.session(path)
        name = session.get_inputs()[0].name

        def call(x: torch.Tensor) -> torch.Tensor:
            values = x.numpy()
            try:
                raw = [session.run(None, {name: values[i : i + 1]})[0] for i in range(len(values))]
            except Exception as error:  # ONNX Runtime's errors share no base but Exception
                raise RuntimeError(f"ONNX Runtime: {' '.join(str(error).split())[:300]}") from None
            return torch.from_numpy(raw[0] if len(raw) == 1 else np.concatenate(raw))

        return call


def load_onnx(card: ModelCard, graph: Graph, threads: int) -> OnnxModel:
    """Return the model of an ONNX file, checked against its card at once.

    Raises:
        ConfigError: Its input or output is not what the card says.
        DamagedInput: It is no ONNX file.
    """
    model = OnnxModel(card, graph, threads)
    if card.format == "onnx":
        path = graph((1, len(card.channels), *card.window))
        session = model.session(path)
        check_graph(card, path, _ports(session.get_inputs()), _ports(session.get_outputs()))
    return model


def _ports(arguments: list[Any]) -> list[Port]:
    return [Port(a.name, a.shape or (), a.type) for a in arguments]


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    # Spinning threads would take the cores that reading and writing need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Only what this run needs is kept between calls: the arena never gives memory back.
    options.enable_mem_pattern = False
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base but Exception
        first = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} is not a usable ONNX file: {first}") from None
