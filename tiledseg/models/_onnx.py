"""ONNX files through ONNX Runtime: the only door to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..errors import ConfigError, DamagedInput, MissingBackend
from ._base import Model, ModelCard

try:
    import onnxruntime as ort
except ImportError:
    raise MissingBackend("onnxruntime", "onnx", "a model in ONNX format") from None


class OnnxModel(Model):
    """A network in ONNX Runtime on the CPU, float32."""

    device = torch.device("cpu")

    def __init__(self, card: ModelCard, session: ort.InferenceSession, threads: int | None) -> None:
        self.card, self.threads = card, threads
        self._session = session
        self._input = session.get_inputs()[0].name
        self._one_by_one = session.get_inputs()[0].shape[0] == 1

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw outputs (n, k, *window) for inputs (n, c, *window)."""
        if self._one_by_one and len(x) > 1:
            return torch.cat([self(x[i : i + 1]) for i in range(len(x))])
        feed = {self._input: np.ascontiguousarray(x.numpy())}
        return torch.from_numpy(self._session.run(None, feed)[0])


def load_onnx(card: ModelCard, weights: Path, device: str, threads: int | None) -> Model:
    """Load an ONNX file.

    Raises:
        ConfigError: Its input is not what the card says, or the device is not the CPU.
        DamagedInput: It is no ONNX file.
    """
    if device != "cpu":
        raise ConfigError(f"runtime.device {device!r}: ONNX models run on the cpu only")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0
    # Spinning threads would take the cores that reading and writing need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Only what this run needs is kept between calls: the arena never gives memory back.
    options.enable_mem_pattern = False
    try:
        session = ort.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base but Exception
        first = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{weights} is not a usable ONNX file: {first}") from None
    _check(card, weights, session)
    return OnnxModel(card, session, threads)


def _check(card: ModelCard, weights: Path, session: ort.InferenceSession) -> None:
    """Compare the input the file states with the card; a fixed extent is a number there."""
    inputs = session.get_inputs()
    said = ["n", len(card.channels), *(("any",) * card.dims if card.any_size else card.window)]
    shape = list(inputs[0].shape)
    fits = len(inputs) == 1 and len(shape) == len(said) and inputs[0].type == "tensor(float)"
    fixed = [(n, wanted) for n, wanted in zip(shape, said, strict=False) if isinstance(n, int)]
    if not fits or any(n != wanted and (n, wanted) != (1, "n") for n, wanted in fixed):
        raise ConfigError(
            f"{weights} takes {[(i.name, i.shape, i.type) for i in inputs]}, the card says one "
            f"float input {said}: correct its channels, dims, window or any_size"
        )
