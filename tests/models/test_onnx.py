"""ONNX files: loaded by their card, checked against it, the same bits whatever the neighbours."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.models import Runtime, RuntimeName, load_model

MakeOnnx = Callable[..., Path]


def images(n: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(n, 2, 64, 48, generator=torch.Generator().manual_seed(seed))


def kernel(file: Path) -> torch.Tensor:
    import onnx

    return torch.tensor(onnx.numpy_helper.to_array(onnx.load(file).graph.initializer[0]))


def test_it_computes_what_the_file_says(make_onnx: MakeOnnx) -> None:
    file = make_onnx()
    x = images(2)
    expected = torch.nn.functional.conv2d(x, kernel(file), padding=1)
    model = load_model(file, threads=1)
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
    assert model.card.sha256 is not None
    assert torch.equal(load_model(file.with_suffix(".yaml"), threads=1)(x), model(x))
    not_in_line = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(model(not_in_line), model(x))


def test_the_card_is_needed(make_onnx: MakeOnnx) -> None:
    file = make_onnx()
    file.with_suffix(".yaml").unlink()
    with pytest.raises(ConfigError, match=r"needs a card .*: write .*a\.yaml"):
        load_model(file)


def test_neighbours_and_position_change_no_bit(make_onnx: MakeOnnx) -> None:
    model = load_model(make_onnx(), threads=1)
    sample, others = images(1), images(4, seed=6)
    outputs = [
        model(torch.cat([rest[:place], sample, rest[place:]]))[place]
        for place in range(3)
        for rest in (others[:2], others[2:] * 1000)
    ]
    assert all(torch.equal(o, outputs[0]) for o in outputs)


def test_four_threads_call_it_at_once(make_onnx: MakeOnnx) -> None:
    model = load_model(make_onnx(), threads=1)
    inputs = [images(2, seed) for seed in range(20)]
    expected = [model(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(model, inputs))
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_a_file_exported_for_one_window_runs_window_by_window(make_onnx: MakeOnnx) -> None:
    x = images(3)
    expected = load_model(make_onnx(), threads=1)(x)
    model = load_model(make_onnx((1, 2, 64, 48), any_size=False), threads=1)
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


UNFIT = {
    "channels": ({"channels": ["a", "b", "c"], "normalization": []}, "takes"),
    "axes": ({"dims": 3, "window": [8, 8, 8], "spacing": None}, "takes"),
    "one size only": ({"shape": ("N", 2, 64, 48)}, "takes"),
    "another size": ({"shape": ("N", 2, 64, 64), "any_size": False}, "takes"),
    "two inputs": ({"more": ("prompt",)}, "takes"),
    "whole numbers for every class": ({"kinds": ("FLOAT", "INT64")}, "gives"),
    "labels of another output": ({"output": "labels"}, "gives"),
    "texts": ({"kinds": ("FLOAT", "STRING")}, "gives"),
}


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("changes", "word"), UNFIT.values(), ids=UNFIT)
def test_a_card_that_does_not_fit_is_told(
    make_onnx: MakeOnnx, library: RuntimeName, changes: dict[str, Any], word: str
) -> None:
    pytest.importorskip(library)
    file = make_onnx(**changes)
    shape = {3: (1, 2, 8, 8, 8)}.get(changes.get("dims", 2), (1, 2, 64, 48))
    told = rf"a\.onnx {word} .* (the card says|expected float scores)"
    with pytest.raises(ConfigError, match=told):
        load_model(file, runtime=Runtime(library))(torch.zeros(shape))


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_a_graph_that_takes_nothing(make_onnx: MakeOnnx, library: RuntimeName) -> None:
    pytest.importorskip(library)
    import onnx

    file = make_onnx()
    graph = onnx.load(file)
    del graph.graph.input[:], graph.graph.node[:]
    graph.graph.output[0].name = "kernel"
    onnx.save(graph, file)
    with pytest.raises(ConfigError, match=r"a\.onnx takes nothing, the card says"):
        load_model(file, runtime=Runtime(library))(torch.zeros(1, 2, 64, 48))


def test_damaged_files(make_onnx: MakeOnnx) -> None:
    file = make_onnx()
    whole = file.read_bytes()
    for content in (b"", whole[:100], b"not a network " * 20):
        file.write_bytes(content)
        with pytest.raises(DamagedInput, match="is not a usable ONNX file") as caught:
            load_model(file)
        assert "\n" not in str(caught.value)


def test_only_the_cpu(make_onnx: MakeOnnx) -> None:
    with pytest.raises(ConfigError, match="runs on the cpu only, not on cuda"):
        load_model(make_onnx(), "cuda")
