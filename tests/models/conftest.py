"""A card as it would be written by hand, and ONNX files made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

HAND_WRITTEN = """
name: small
format: tiledseg
weights: weights.safetensors
dims: 2
channels: [red, nir]
classes:
- {name: land}
- {name: water, color: [0, 0, 255]}
- {name: cloud, id: 7}
window: [64, 48]
multiple: 4
architecture: {name: unet, channels: [4, 8, 8], strides: [2, 2], norm: batch}
normalization:
- {kind: linear, scale: [0.1, 0.2], offset: [0]}
- {kind: sigmoid, gain: 2}
spacing: [10, 10]
"""


@pytest.fixture
def values() -> dict[str, Any]:
    """The plain values of a right card."""
    loaded: dict[str, Any] = yaml.safe_load(HAND_WRITTEN)
    return loaded


@pytest.fixture
def make_onnx(tmp_path: Path, values: dict[str, Any]) -> Callable[..., Path]:
    """Return a function that writes a 3x3 convolution as ONNX, with a card, and returns the file.

    ``shape`` is the input's as stated in the file, ``kinds`` are ONNX's names of what it takes and
    gives, ``more`` names inputs that nothing uses; ``changes`` are of the card.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    def make(
        shape: tuple[Any, ...] = ("N", 2, "H", "W"),
        kinds: tuple[str, str] = ("FLOAT", "FLOAT"),
        more: tuple[str, ...] = (),
        **changes: Any,
    ) -> Path:
        given, made = (getattr(TensorProto, kind) for kind in kinds)
        kernel = np.random.default_rng(3).normal(size=(3, 2, 3, 3)).astype(np.float32)
        graph = helper.make_graph(
            [
                helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
                helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1, 1, 1, 1]),
                helper.make_node("Cast", ["y"], ["logits"], to=made),
            ],
            "small",
            [
                helper.make_tensor_value_info("image", given, shape),
                *(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1,)) for name in more),
            ],
            [helper.make_tensor_value_info("logits", made, (shape[0], 3, *shape[2:]))],
            [numpy_helper.from_array(kernel, "kernel")],
        )
        opset = [helper.make_opsetid("", 18)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "a.onnx")
        card = {**values, "format": "onnx", "weights": "a.onnx", "architecture": {}, **changes}
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
        return tmp_path / "a.onnx"

    return make
