"""Graphs of any layout, type and extent do what the plain graph does, in both libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

import tiledseg
from tiledseg.errors import ConfigError
from tiledseg.models import Runtime, load_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
both = pytest.mark.parametrize("library", ["onnxruntime", "openvino"])

KERNEL = np.random.default_rng(3).normal(size=(3, 2, 3, 3)).astype(np.float32)
SOLID = np.random.default_rng(4).normal(size=(3, 2, 3, 3, 3)).astype(np.float32)
X = torch.randn(3, 2, 24, 32, generator=torch.Generator().manual_seed(5))
MakeGraph = Callable[..., Path]
CARD = {
    "name": "small",
    "format": "onnx",
    "weights": "g.onnx",
    "dims": 2,
    "channels": ["a", "b"],
    "classes": [{"name": n} for n in "xyz"],
    "window": [24, 32],
}


def port(spec: tuple[str, str, tuple[Any, ...]]) -> Any:
    name, kind, shape = spec
    return onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape)


@pytest.fixture
def make(tmp_path: Path) -> MakeGraph:
    """Return a function that writes an ONNX file of some nodes, and a card beside it.

    Nodes are (operator, inputs, output, attributes); ``k`` is a 3 x 3 kernel, ``k3`` one of 3-D.
    ``given`` and ``gives`` are names, types and extents.
    """

    def write(nodes: list[Any], given: Any, gives: list[Any], **card: Any) -> Path:
        kernels = {"k": KERNEL, "k3": SOLID}
        used = [name for name in kernels if any(name in node[1] for node in nodes)]
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node(op, ins, [out], **more) for op, ins, out, more in nodes],
            "small",
            [port(given)],
            [port(spec) for spec in gives],
            [onnx.numpy_helper.from_array(kernels[name], name) for name in used],
        )
        opset = [onnx.helper.make_opsetid("", 18)]
        path = tmp_path / "g.onnx"
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), path)
        path.with_suffix(".yaml").write_text(yaml.safe_dump({**CARD, **card}), encoding="utf-8")
        return path

    return write


def plain(x: torch.Tensor) -> torch.Tensor:
    return functional.conv2d(x, torch.from_numpy(KERNEL), padding=1)


def load(file: Path, library: Any) -> Any:
    return load_model(file, runtime=Runtime(library))


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


SAME = ("Conv", ["x", "k"], "y", {"pads": [1, 1, 1, 1]})
FREE = ("n", 2, "h", "w")


# --------------------------------------------------------------------- layout and types


@both
@pytest.mark.parametrize("said", ["auto", "channels_last"])
@pytest.mark.parametrize("gives_last", [True, False])
def test_channels_last(make: MakeGraph, library: str, said: str, gives_last: bool) -> None:
    back = [("Transpose", ["y"], "z", {"perm": [0, 2, 3, 1]})] if gives_last else []
    file = make(
        [("Transpose", ["image"], "x", {"perm": [0, 3, 1, 2]}), SAME, *back],
        ("image", "FLOAT", ("n", "h", "w", 2)),
        [("z", "FLOAT", ("n", "h", "w", 3))]
        if gives_last
        else [("y", "FLOAT", ("n", 3, "h", "w"))],
        layout=said,
    )
    near(load(file, library)(X), plain(X))


@both
def test_channels_last_of_a_volume(make: MakeGraph, library: str) -> None:
    x = torch.randn(2, 2, 8, 10, 12, generator=torch.Generator().manual_seed(1))
    file = make(
        [
            ("Transpose", ["image"], "x", {"perm": [0, 4, 1, 2, 3]}),
            ("Conv", ["x", "k3"], "y", {"pads": [1] * 6}),
            ("Transpose", ["y"], "z", {"perm": [0, 2, 3, 4, 1]}),
        ],
        ("image", "FLOAT", (1, 8, 10, 12, 2)),
        [("z", "FLOAT", (1, 8, 10, 12, 3))],
        dims=3,
        window=[8, 10, 12],
        any_size=False,
    )
    near(load(file, library)(x), functional.conv3d(x, torch.from_numpy(SOLID), padding=1))


@both
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_fixed_number_of_windows(make: MakeGraph, library: str, batch: int) -> None:
    file = make(
        [SAME], ("x", "FLOAT", (batch, 2, "h", "w")), [("y", "FLOAT", (batch, 3, "h", "w"))]
    )
    model = load(file, library)
    near(model(X), plain(X))
    alone = model(X[1:2]).clone()
    assert torch.equal(model(X)[1:2], alone)


@both
@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE", "UINT8", "INT32"])
def test_other_types_of_numbers(make: MakeGraph, library: str, kind: str) -> None:
    half = kind == "FLOAT16"
    made = "FLOAT" if kind in ("UINT8", "INT32") else kind
    file = make(
        [
            ("Cast", ["image"], "x", {"to": 1}),
            SAME,
            ("Cast", ["y"], "z", {"to": getattr(onnx.TensorProto, made)}),
        ],
        ("image", kind, FREE),
        [("z", made, ("n", 3, "h", "w"))],
    )
    x = (X * 40 + 100).round().clamp(0, 255)
    found = load(file, library)(x + 0.2)  # which whole numbers round away
    expected = plain(x if kind in ("UINT8", "INT32") else x + 0.2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, expected, rtol=2e-3 if half else 1e-5, atol=1 if half else 1e-3
    )


# --------------------------------------------------------------------- outputs


TWO = [SAME, ("Neg", ["y"], "other", {}), ("ReduceMean", ["y"], "mean", {"keepdims": 0})]
GIVES = [
    ("mean", "FLOAT", ()),
    ("y", "FLOAT", ("n", 3, "h", "w")),
    ("other", "FLOAT", ("n", 3, "h", "w")),
]


@both
@pytest.mark.parametrize(
    ("asked", "sign"), [(None, 1), ("y", 1), ("1", 1), ("other", -1), ("2", -1)]
)
def test_which_output(make: MakeGraph, library: str, asked: str | None, sign: int) -> None:
    """Unless the card says so it is the first that can be scores, not simply the first."""
    file = make(TWO, ("x", "FLOAT", FREE), GIVES, output=asked)
    near(load(file, library)(X), sign * plain(X))


@both
@pytest.mark.parametrize(("asked", "told"), [("nope", "says output 'nope'"), ("mean", "'mean'")])
def test_an_output_that_is_not_there(make: MakeGraph, library: str, asked: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"g\.onnx gives .*{told}"):
        load(make(TWO, ("x", "FLOAT", FREE), GIVES, output=asked), library)(X)


@both
@pytest.mark.parametrize("keepdims", [0, 1])
def test_labels_count_as_scores(make: MakeGraph, library: str, keepdims: int) -> None:
    shape = ("n", 1, "h", "w") if keepdims else ("n", "h", "w")
    nodes = [SAME, ("ArgMax", ["y"], "z", {"axis": 1, "keepdims": keepdims})]
    gives = [("z", "INT64", shape)]
    model = load(make(nodes, ("x", "FLOAT", FREE), gives, activation="none"), library)
    votes = functional.one_hot(plain(X).argmax(1), 3).movedim(-1, 1)
    assert torch.equal(model(X), votes.float())
    with pytest.raises(ConfigError, match=r"gives labels, .* say activation: none"):
        load(make(nodes, ("x", "FLOAT", FREE), gives), library)(X)
    two = {"classes": [{"name": "x"}, {"name": "y"}], "activation": "none"}
    with pytest.raises(ConfigError, match="gave labels of 0 to 2, the card has 2 classes"):
        load(make(nodes, ("x", "FLOAT", FREE), gives, **two), library)(X)


@both
def test_one_output_without_an_axis_for_it(make: MakeGraph, library: str) -> None:
    best = ("ArgMax", ["y"], "i", {"axis": 1, "keepdims": 0})
    nodes = [SAME, best, ("Cast", ["i"], "z", {"to": 1})]
    card = {"classes": [{"name": "x"}, {"name": "y"}], "single_output": True, "activation": "none"}
    file = make(nodes, ("x", "FLOAT", FREE), [("z", "FLOAT", ("n", "h", "w"))], **card)
    assert torch.equal(load(file, library)(X), plain(X).argmax(1, keepdim=True).float())


# --------------------------------------------------------------------- extents


POOL = [SAME, ("AveragePool", ["y"], "z", {"kernel_shape": [4, 4], "strides": [4, 4]})]


@both
def test_a_coarse_map_is_interpolated(make: MakeGraph, library: str) -> None:
    file = make(POOL, ("x", "FLOAT", FREE), [("z", "FLOAT", ("n", 3, "a", "b"))], multiple=4)
    coarse = functional.avg_pool2d(plain(X), 4)
    near(load(file, library)(X), functional.interpolate(coarse, (24, 32), mode="bilinear"))


@both
def test_coarse_labels_are_repeated(make: MakeGraph, library: str) -> None:
    nodes = [*POOL, ("ArgMax", ["z"], "i", {"axis": 1})]
    gives = [("i", "INT64", ("n", 1, "a", "b"))]
    file = make(nodes, ("x", "FLOAT", FREE), gives, multiple=4, activation="none")
    best = functional.avg_pool2d(plain(X), 4).argmax(1)
    repeated = best.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert torch.equal(load(file, library)(X).argmax(1), repeated)


@both
def test_a_fine_map_is_averaged(make: MakeGraph, library: str) -> None:
    """Two samples on either axis for one of the image, as super-resolution gives."""
    nodes = [
        SAME,
        ("Concat", ["y", "y", "y", "y"], "four", {"axis": 1}),
        ("DepthToSpace", ["four"], "z", {"blocksize": 2}),
    ]
    file = make(nodes, ("x", "FLOAT", FREE), [("z", "FLOAT", ("n", 3, "a", "b"))])
    near(load(file, library)(X), plain(X))


@both
def test_a_larger_map_gives_its_middle(make: MakeGraph, library: str) -> None:
    wide = ("Conv", ["x", "k"], "y", {"pads": [4, 4, 4, 4]})
    file = make([wide], ("x", "FLOAT", FREE), [("y", "FLOAT", ("n", 3, "a", "b"))])
    near(load(file, library)(X), plain(X))


@both
@pytest.mark.parametrize("fixed", [True, False])
def test_a_map_without_its_rim(make: MakeGraph, library: str, fixed: bool) -> None:
    """Inside it is the plain map, and at the window's border that of its mirror image."""
    given = (1, 2, 26, 34) if fixed else FREE
    gives = [("y", "FLOAT", (1, 3, 24, 32) if fixed else ("n", 3, "a", "b"))]
    bare = ("Conv", ["x", "k"], "y", {})
    file = make([bare], ("x", "FLOAT", given), gives, rim=1, any_size=not fixed)
    kernel = torch.from_numpy(KERNEL)
    expected = functional.conv2d(functional.pad(X, (1,) * 4, mode="reflect"), kernel)
    model = load(file, library)
    near(model(X), expected)
    near(model(X)[..., 1:-1, 1:-1], plain(X)[..., 1:-1, 1:-1])


@both
def test_a_rim_that_the_card_does_not_tell(make: MakeGraph, library: str) -> None:
    bare = ("Conv", ["x", "k"], "y", {})
    file = make([bare], ("x", "FLOAT", FREE), [("y", "FLOAT", ("n", 3, "a", "b"))])
    with pytest.raises(ConfigError, match=r"gives \(22, 30\) for .* \(24, 32\), .*: say rim: 1"):
        load(file, library)(X)


@both
def test_extents_that_fit_nothing(make: MakeGraph, library: str) -> None:
    odd = ("Conv", ["x", "k"], "y", {"pads": [1, 1, 0, 1]})
    file = make([odd], ("x", "FLOAT", FREE), [("y", "FLOAT", ("n", 3, "a", "b"))])
    with pytest.raises(ConfigError, match=r"gives \(23, 32\) .*: export it with padding"):
        load(file, library)(X)


@pytest.mark.parametrize("core", [None, (17, 40), (90, 13)])
def test_tiles_of_a_map_without_its_rim(
    make: MakeGraph, tmp_path: Path, core: tuple[int, int] | None
) -> None:
    """They are one convolution over the mirrored image, whatever the windows."""
    image = np.random.default_rng(0).normal(size=(2, 90, 75)).astype(np.float32)
    bare = ("Conv", ["x", "k"], "y", {})
    file = make(
        [bare],
        ("x", "FLOAT", (1, 2, 26, 34)),
        [("y", "FLOAT", (1, 3, 24, 32))],
        rim=1,
        any_size=False,
        activation="none",
    )
    scores = tmp_path / "scores.zarr"
    tiledseg.segment(
        image,
        file,
        tmp_path / "map.zarr",
        tiling={"core": core},
        output={"scores": str(scores), "score_type": "float32", "report": False},
    )
    x = functional.pad(torch.from_numpy(image)[None], (1,) * 4, mode="reflect")
    expected = functional.conv2d(x, torch.from_numpy(KERNEL))[0]
    with tiledseg.open_source(scores) as source:
        near(torch.from_numpy(source.read(source.grid.box)), expected)
    with pytest.raises(ConfigError, match="its rim is 1, so take a margin of 1 at least"):
        tiledseg.segment(image, file, tmp_path / "b.zarr", tiling={"margin": 0})
