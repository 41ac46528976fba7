"""Graph files that bring what a card says, cards that leave out what the file knows, and the rest.

Files of the QGIS plugin Deepness are run as the plugin runs them: its rules are its documentation's
(docs/source/creators) and those of its tests' models.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import tiledseg
from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.models import Runtime, find_card, load_model
from tiledseg.models._kinds import kind_of
from tiledseg.normalize import Linear

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
ov = pytest.importorskip("openvino")
MakeOnnx = Callable[..., Path]
TWO = {"classes": [{"name": "a"}, {"name": "b"}]}
THREE = {"classes": [{"name": n} for n in "abc"]}


def says(file: Path, **card: Any) -> Path:
    """Write the card beside a graph file; nothing writes none."""
    beside = file.with_suffix(".yaml")
    beside.unlink(missing_ok=True)
    if card:
        beside.write_text(yaml.safe_dump(card), encoding="utf-8")
    return file


def with_metadata(file: Path, **texts: str) -> Path:
    graph = onnx.load(file)
    for name, text in texts.items():
        graph.metadata_props.add(key=name, value=text)
    onnx.save(graph, file)
    return file


# --------------------------------------------------------------------- files of Deepness

GONE = {
    "dummy_recognition_model.onnx": "is a Regression of Deepness, which gives no scores",
    "dummy_regression_models/dummy_regression_model.onnx": "is a Regressor of Deepness",
    "dummy_regression_models/dummy_regression_model_batched.onnx": "is a Regressor of Deepness",
}
#: The class that a file names, or what a person must write beside it.
RUN: dict[str, tuple[str | None, dict[str, Any]]] = {
    "dummy_regression_models/one_output_sigmoid_bsx1x512x512.onnx": ("Happiness", {}),
    "dummy_regression_models/two_outputs_sigmoid_bsx1x512x512.onnx": ("Luck", {}),
    "dummy_segmentation_models/one_output_sigmoid_bsx1x512x512.onnx": ("Coffee", {}),
    "dummy_segmentation_models/one_output_sigmoid_bsx512x512.onnx": ("Coffee", {}),
    "dummy_segmentation_models/two_outputs_sigmoid_bsx1x512x512.onnx": ("Coffee", {}),
    "dummy_segmentation_models/two_outputs_softmax_bsx2x512x512.onnx": ("Tea", {}),
    "dummy_regression_models/one_output_sigmoid_bsx512x512.onnx": (None, TWO),
    "dummy_regression_models/two_outputs_sigmoid_bsx512x512.onnx": (None, TWO),
    "dummy_segmentation_models/different_output_size_512_to_484.onnx": (None, TWO),
    "dummy_segmentation_models/dummy_model.onnx": (None, THREE),
    "dummy_segmentation_models/one_output_softmax_bsx2x512x512.onnx": (None, TWO),
    "dummy_segmentation_models/two_outputs_sigmoid_bsx512x512.onnx": (None, TWO),
    "dummy_superresolution_model.onnx": (None, THREE),
    "one_output_sigmoid_red_detector.onnx": (None, TWO),
}


@pytest.fixture
def dummies(data: Path, tmp_path: Path) -> Path:
    """Return a folder with Deepness's files, beside which cards can be written."""
    shutil.copytree(data / "models/deepness_dummy", tmp_path / "dummies")
    for path in (tmp_path / "dummies").rglob("*"):
        path.chmod(0o755)
    return tmp_path / "dummies"


def reference(file: Path, x: np.ndarray) -> np.ndarray:
    """Return a file's first output for one window, straight from ONNX Runtime."""
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return found


@pytest.mark.data
def test_every_file_is_run_or_refused(dummies: Path) -> None:
    files = {p.relative_to(dummies).as_posix() for p in dummies.rglob("*.onnx")}
    assert files == set(GONE) | set(RUN)
    assert len(files) == 17


@pytest.mark.data
@pytest.mark.parametrize("name", GONE)
def test_what_makes_no_class_map_is_refused(dummies: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=GONE[name]):
        find_card(dummies / name)


@pytest.mark.data
def test_a_card_makes_a_class_map_of_a_regression(dummies: Path) -> None:
    card = {**TWO, "single_output": True, "activation": "none"}
    file = says(dummies / "dummy_regression_models/dummy_regression_model.onnx", **card)
    assert find_card(file).window == (512, 512)
    gives_nothing = says(dummies / "dummy_recognition_model.onnx", **TWO)
    with pytest.raises(ConfigError, match=r"gives 'output' float32 \[batch_size, 224\], expected"):
        load_model(gives_nothing)


@pytest.mark.data
@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", RUN)
def test_it_gives_what_the_file_gives(dummies: Path, name: str, library: Any) -> None:
    named, card = RUN[name]
    file = dummies / name
    if named is None:
        with pytest.raises(ConfigError, match=r"needs a card that says what its classes are: wri"):
            find_card(file)
    model = load_model(says(file, **card), runtime=Runtime(library))
    if named is not None:
        assert model.card.schema.classes[-1].name == named
    assert len(model.card.channels) == 3
    window = model.card.window
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((1, 3, *window), dtype=np.float32))
    found = model(x).numpy()
    rim = model.card.rim
    expected = reference(
        file, np.pad(x.numpy(), [(0, 0), (0, 0), (rim, rim), (rim, rim)], "reflect")
    )
    if expected.ndim == 3:
        expected = expected[:, None]
    if expected.shape[-1] == 2 * window[-1]:
        k, (h, w) = expected.shape[1], window
        expected = expected.reshape(1, k, h, 2, w, 2).mean((3, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.data
def test_a_smaller_output_lies_where_deepness_lays_it(dummies: Path) -> None:
    """The plugin drops (512 - 484) / 2 samples of the tile's image on every side."""
    file = says(dummies / "dummy_segmentation_models/different_output_size_512_to_484.onnx", **TWO)
    card = find_card(file)
    assert (card.window, card.rim, card.margin, card.any_size) == ((484, 484), 14, 14, False)
    x = np.random.default_rng(0).random((1, 3, 512, 512), dtype=np.float32)
    deepness = reference(file, x)[0]  # sample [0, 0] is that of the tile's [14, 14]
    ours = load_model(file)(torch.from_numpy(x[:, :, 14:-14, 14:-14].copy()))[0].numpy()
    inner = (slice(None), slice(14, -14), slice(14, -14))
    np.testing.assert_allclose(ours[inner], deepness[inner], rtol=1e-4, atol=1e-5)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "output", "classes"),
    [
        ("two_outputs_sigmoid_bsx1x512x512", "output2", ["background", "Juice"]),
        ("two_outputs_softmax_bsx2x512x512", "output2", ["Juice", "Beer"]),
    ],
)
def test_the_other_output(dummies: Path, name: str, output: str, classes: list[str]) -> None:
    card = find_card(says(dummies / f"dummy_segmentation_models/{name}.onnx", output=output))
    assert [c.name for c in card.schema.classes] == classes


@pytest.mark.data
def test_a_scene_through_a_file_of_deepness(dummies: Path, tmp_path: Path) -> None:
    """No card at all, on bytes: Deepness divides by 255, and a class is where its score is high."""
    file = dummies / "one_output_sigmoid_red_detector.onnx"
    with_metadata(file, model_type='"Segmentor"', class_names='{"0": "red"}')
    image = np.random.default_rng(1).integers(0, 256, (3, 700, 600), np.uint8)
    image = image // 64 * 64 + 20
    tiledseg.segment(image, file, tmp_path / "map.tif", output={"report": False})
    with tiledseg.open_source(tmp_path / "map.tif") as source:
        found = source.read(source.grid.box)[0]
    tile = np.zeros((1, 3, 1024, 1024), np.float32)
    tile[0, :, :700, :600] = image / np.float32(255)
    halves = [
        np.ascontiguousarray(tile[..., a : a + 512, b : b + 512])
        for a in (0, 512)
        for b in (0, 512)
    ]
    parts = [reference(file, half)[0, 0] > 0.5 for half in halves]
    whole = np.block([parts[:2], parts[2:]])[:700, :600]
    np.testing.assert_array_equal(found, whole)
    assert 0.1 < found.mean() < 0.9


# --------------------------------------------------------------------- metadata of Deepness


def segmentor(make_onnx: MakeOnnx, **texts: str) -> Path:
    return with_metadata(says(make_onnx()), model_type='"Segmentor"', **texts)


NAMES = '{"0": "bare", "1": "field", "2": "wood"}'


def test_metadata_is_a_card(make_onnx: MakeOnnx) -> None:
    card = find_card(
        segmentor(
            make_onnx,
            class_names=NAMES,
            resolution="25",
            tiles_size="256",
            tiles_overlap="25",
            standardization_mean="[0.5, 0.25]",
            standardization_std="[0.2, 0.1]",
        )
    )
    assert [c.name for c in card.schema.classes] == ["bare", "field", "wood"]
    assert (card.window, card.any_size, card.spacing) == ((256, 256), True, (0.25, 0.25))
    assert (card.activation, card.single_output) == ("none", False)
    assert card.tiling.stride == (192, 192)
    pixel = np.array([[51.0], [204.0]], np.float32)
    expected = (pixel / 255 - [[0.5], [0.25]]) / [[0.2], [0.1]]
    valid = np.ones(1, bool)
    np.testing.assert_allclose(card.normalization(pixel, valid), expected, rtol=1e-5)


@pytest.mark.parametrize("names", [f"[{NAMES}]", "{0: 'bare', 1: 'field', 2: 'wood'}"])
def test_names_in_every_form_that_deepness_reads(make_onnx: MakeOnnx, names: str) -> None:
    card = find_card(segmentor(make_onnx, class_names=names))
    assert [c.name for c in card.schema.classes] == ["bare", "field", "wood"]
    assert card.normalization.steps == (Linear((1 / 255,), (0.0,)),)


def test_what_a_person_writes_overrules_the_file(make_onnx: MakeOnnx) -> None:
    file = segmentor(make_onnx, class_names=NAMES, resolution="25")
    says(file, activation="softmax", spacing=[1, 1], normalization=[], window=[32, 32])
    card = find_card(file)
    assert (card.activation, card.spacing, card.window) == ("softmax", (1.0, 1.0), (32, 32))
    assert card.normalization.steps == ()
    assert card.schema.classes[0].name == "bare"


def test_what_is_left_out_is_told_by_the_import(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    file = segmentor(make_onnx, class_names=NAMES, seg_thresh="0.3", seg_small_segment="7")
    made = tiledseg.import_model(file, tmp_path / "model")
    assert any(note.startswith("seg_thresh 0.3 is left out") for note in made.notes)
    assert any(note.startswith("seg_small_segment is left out") for note in made.notes)
    x = torch.zeros(1, 2, 64, 48)
    assert torch.equal(load_model(tmp_path / "model")(x), load_model(file)(x))


WRONG = {
    "names that skip one": {"class_names": '{"0": "a", "2": "b"}'},
    "names that are none": {"class_names": "7"},
    "no JSON": {"class_names": "{a"},
    "code": {"class_names": "__import__('os').system('true')"},
    "a size": {"class_names": NAMES, "tiles_size": '"large"'},
    "a deviation of 0": {
        "class_names": NAMES,
        "standardization_mean": "[0, 0]",
        "standardization_std": "[0, 1]",
    },
    "too few means": {"class_names": NAMES, "standardization_mean": "[0]"},
    "an infinite size": {"class_names": NAMES, "tiles_size": "1e400"},
    "a resolution of hundreds of digits": {"class_names": NAMES, "resolution": "1" * 400},
    "a mean of hundreds of digits": {
        "class_names": NAMES,
        "standardization_mean": f"[{'1' * 400}, 0]",
    },
}


@pytest.mark.parametrize("texts", WRONG.values(), ids=WRONG)
def test_metadata_that_makes_no_sense(make_onnx: MakeOnnx, texts: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"a\.onnx") as caught:
        find_card(segmentor(make_onnx, **texts))
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------- what a file knows


def test_a_card_of_classes_alone(make_onnx: MakeOnnx) -> None:
    card = find_card(says(make_onnx(("N", 2, 64, 48)), **THREE))
    assert (card.name, card.format, card.weights, card.dims) == ("a", "onnx", "a.onnx", 2)
    assert (len(card.channels), card.window, card.any_size) == (2, (64, 48), False)
    free = find_card(says(make_onnx(), **THREE))
    assert (free.window, free.any_size) == ((512, 512), True)


@pytest.mark.parametrize("given", [None, 5, "x", {"a": 1}, [None], [[1]]], ids=repr)
@pytest.mark.parametrize("key", ["dims", "channels", "window", "classes", "layout", "output"])
def test_a_card_of_other_forms(make_onnx: MakeOnnx, key: str, given: Any) -> None:
    """Also where the metadata of the file makes the card be looked at early."""
    file = with_metadata(make_onnx(), class_names=NAMES, tiles_overlap="10")
    if (key, given) in (("output", None), ("output", "x")):
        given = 1.5
    with pytest.raises(ConfigError, match=key) as caught:
        find_card(says(file, **{key: given}))
    assert "\n" not in str(caught.value)


def test_a_card_of_another_kind_of_graph(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    file = says(make_onnx(), **THREE, format="tiledseg")
    for use in (find_card, lambda path: tiledseg.import_model(path, tmp_path / "made")):
        with pytest.raises(ConfigError, match="format cannot be 'tiledseg'"):
            use(file)


def test_a_folder_whose_card_says_little(make_onnx: MakeOnnx) -> None:
    file = make_onnx()
    card = {"format": "onnx", "weights": "a.onnx", **THREE, "window": [64, 48]}
    (file.parent / "model.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    assert find_card(file.parent).channels == ("channel 1", "channel 2")
    x = torch.ones(1, 2, 64, 48)
    assert torch.equal(load_model(file.parent)(x), load_model(file)(x))


def test_the_sentence_holds_a_card_that_works(make_onnx: MakeOnnx) -> None:
    file = says(make_onnx())
    with pytest.raises(ConfigError, match=r"write .*a\.yaml with \{") as caught:
        load_model(file)
    text = str(caught.value)
    start = text.index("{")
    says(file, **yaml.safe_load(text[start : text.index("]}") + 2]))
    assert load_model(file)(torch.zeros(1, 2, 64, 48)).shape == (1, 3, 64, 48)


# --------------------------------------------------------------------- OpenVINO's own files


@pytest.fixture
def make_ir(make_onnx: MakeOnnx) -> MakeOnnx:
    """Return a function that writes the same convolution as an OpenVINO graph."""

    def make(*args: Any, **changes: Any) -> Path:
        file = make_onnx(*args, **changes)
        xml = file.with_suffix(".xml")
        ov.save_model(ov.convert_model(str(file)), str(xml), compress_to_fp16=False)
        values = yaml.safe_load(file.with_suffix(".yaml").read_text(encoding="utf-8"))
        return says(xml, **{**values, "format": "openvino", "weights": xml.name})

    return make


def test_an_openvino_graph(make_ir: MakeOnnx, make_onnx: MakeOnnx) -> None:
    x = torch.randn(2, 2, 64, 48, generator=torch.Generator().manual_seed(1))
    plain = load_model(make_onnx(), runtime=Runtime("openvino"))(x).clone()
    xml = make_ir()
    model = load_model(xml)
    assert model.runtime == ("openvino", "fp32")
    torch.testing.assert_close(model(x), plain, rtol=1e-5, atol=1e-5)
    assert len(find_card(says(xml, **THREE)).channels) == 2


def test_both_files_of_an_openvino_graph_are_its_identity(make_ir: MakeOnnx) -> None:
    xml = make_ir()
    before = find_card(xml).sha256
    weights = xml.with_suffix(".bin")
    changed = bytearray(weights.read_bytes())
    changed[4] ^= 1
    weights.write_bytes(changed)
    assert find_card(xml).sha256 != before
    weights.unlink()
    with pytest.raises(ConfigError, match=r"needs a\.bin beside it"):
        load_model(xml)


@pytest.mark.parametrize("harm", ["xml cut", "bin cut", "emptied", "offset"])
def test_damaged_openvino_graphs(make_ir: MakeOnnx, harm: str) -> None:
    xml = make_ir()
    weights, text = xml.with_suffix(".bin"), xml.read_text(encoding="utf-8")
    if harm == "bin cut":
        weights.write_bytes(weights.read_bytes()[:-40])
    elif harm == "offset":
        xml.write_text(text.replace('offset="0"', 'offset="99999999999"'), encoding="utf-8")
    else:
        xml.write_text(text[:400] if harm == "xml cut" else "<net>", encoding="utf-8")
    with pytest.raises((DamagedInput, ConfigError), match=r"a\.xml") as caught:
        load_model(xml)(torch.zeros(1, 2, 64, 48))
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------- numbers in files beside


def external(file: Path, location: str) -> Path:
    """Keep the numbers of an ONNX file in a file of their own, wherever that is said to be."""
    graph = onnx.load(file)
    onnx.save(graph, file, save_as_external_data=True, location="numbers.bin", size_threshold=0)
    if location != "numbers.bin":
        graph = onnx.load(file, load_external_data=False)
        for tensor in graph.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        file.write_bytes(graph.SerializeToString())
    return file


def test_the_numbers_of_a_large_onnx_file(make_onnx: MakeOnnx) -> None:
    x = torch.randn(1, 2, 64, 48, generator=torch.Generator().manual_seed(1))
    file = make_onnx()
    whole = load_model(file)(x)
    external(file, "numbers.bin")
    assert torch.equal(load_model(file)(x), whole)
    before = find_card(file).sha256
    numbers = file.with_name("numbers.bin")
    numbers.write_bytes(numbers.read_bytes()[::-1])
    assert find_card(file).sha256 != before
    numbers.unlink()
    with pytest.raises(ConfigError, match=r"needs numbers\.bin beside it"):
        load_model(file)


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("up", [True, False])
def test_numbers_outside_of_the_folder_are_not_read(
    make_onnx: MakeOnnx, tmp_path: Path, library: Any, up: bool
) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    location = "../secret" if up else str(tmp_path / "secret")
    file = external(make_onnx(), location)
    shutil.move(file.with_name("numbers.bin"), tmp_path / "secret")
    for path in (file, file.with_suffix(".yaml")):
        shutil.move(path, inside / path.name)
    with pytest.raises(ConfigError, match=r"secret', which is outside of its folder"):
        load_model(inside / file.name, runtime=Runtime(library))


# --------------------------------------------------------------------- which kind


def test_files_are_told_by_their_content(make_ir: MakeOnnx, tmp_path: Path) -> None:
    xml = make_ir()
    assert kind_of(xml) == "openvino"
    assert kind_of(xml.with_suffix(".onnx")) == "onnx"
    (tmp_path / "other.xml").write_text("<VOLUME></VOLUME>")
    assert kind_of(tmp_path / "other.xml") is None
    weights = torch.nn.Linear(1, 1).state_dict()
    torch.save(weights, tmp_path / "a.pt")
    torch.save(weights, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert kind_of(tmp_path / "a.pt") == kind_of(tmp_path / "b.pt") == "state_dict"
    for name, content in (("c.pt", b""), ("d.pt", b"PK\x03\x04"), ("e.pt", b"\x80\x04none")):
        (tmp_path / name).write_bytes(content)
        assert kind_of(tmp_path / name) is None
    assert kind_of(tmp_path) is None
    assert kind_of(tmp_path / "missing.pt") is None


def test_huge_extents_in_a_file_are_told(make_onnx: MakeOnnx) -> None:
    file = says(make_onnx(("N", 2, 2**40, 2**40)), **THREE)
    with pytest.raises(ConfigError, match=r"a\.yaml: window") as caught:
        load_model(file)
    assert "\n" not in str(caught.value)
