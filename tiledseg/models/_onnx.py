"""ONNX graphs through ONNX Runtime: the only door to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import DamagedInput, MissingBackend
from ._base import ModelCard, Runtime
from ._exported import ExportedModel, Graph, recent
from ._fit import Call, Facts, Port

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
        outputs = ports_of(session.get_outputs())
        fit = self.fit(path, ports_of(session.get_inputs()), outputs)
        name, wanted, count = session.get_inputs()[0].name, [outputs[fit.output].name], fit.batch

        def run(x: torch.Tensor) -> torch.Tensor:
            values = x.numpy()
            parts = (values[i : i + count] for i in range(0, len(values), count))
            try:
                raw = [session.run(wanted, {name: part})[0] for part in parts]
            except Exception as error:  # ONNX Runtime's errors share no base but Exception
                raise RuntimeError(f"ONNX Runtime: {' '.join(str(error).split())[:300]}") from None
            return torch.from_numpy(raw[0] if len(raw) == 1 else np.concatenate(raw))

        return fit.around(run)


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
        model.fit(path, ports_of(session.get_inputs()), ports_of(session.get_outputs()))
    return model


def onnx_facts(path: Path) -> Facts:
    """Return what an ONNX file states.

    Raises:
        DamagedInput: It is no ONNX file.
    """
    session = _session(path, 1)
    inputs, outputs = ports_of(session.get_inputs()), ports_of(session.get_outputs())
    return Facts(tuple(inputs), tuple(outputs), dict(session.get_modelmeta().custom_metadata_map))


def ports_of(arguments: list[Any]) -> list[Port]:
    """Return what a session states of its inputs or outputs."""
    return [Port(a.name, a.shape or (), _kind(a.type)) for a in arguments]


def _kind(text: str) -> str:
    """Return the name of a type as numpy has it: ``tensor(float)`` is float32."""
    inner = text.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(inner, inner)


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
        return ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's errors share no base but Exception
        first = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} is not a usable ONNX file: {first}") from None
