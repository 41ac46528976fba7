"""Cards: what is written is what is read, and what is wrong is told by its key."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tiledseg.errors import ConfigError
from tiledseg.lattice import Lattice
from tiledseg.models import card_from_dict, card_to_dict, read_card
from tiledseg.models._card import weights_paths, write_card
from tiledseg.normalize import Linear, Normalization, Sigmoid
from tiledseg.tiling import TilingSpec

#: Nine letters that stand for a billion values.
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
CARDS = sorted((Path(__file__).parents[2] / "configs/models").glob("*.yaml"))


def test_a_card_written_by_hand(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    card = read_card(tmp_path)
    assert card.channels == ("red", "nir")
    assert [(c.id, c.name) for c in card.schema.classes] == [
        (0, "land"),
        (1, "water"),
        (7, "cloud"),
    ]
    assert card.schema.classes[1].color == (0, 0, 255)
    assert card.window == (64, 48)
    assert card.spacing == (10.0, 10.0)
    assert card.outputs == 3
    assert card.normalization == Normalization((Linear((0.1, 0.2), (0,)), Sigmoid(2)))
    assert (card.activation, card.locality, card.margin) == ("softmax", "unknown", 0)
    assert read_card(tmp_path / "model.yaml") == card


def test_classes_may_be_names_alone(values: dict[str, Any]) -> None:
    card = card_from_dict({**values, "classes": ["land", {"name": "water", "id": 4}]}, "x")
    assert [(c.id, c.name) for c in card.schema.classes] == [(0, "land"), (4, "water")]


@pytest.mark.parametrize("file", CARDS, ids=lambda f: f.stem)
def test_every_card_in_configs_survives_a_round_trip(file: Path) -> None:
    card = read_card(file)
    plain = card_to_dict(card)
    assert card_from_dict(plain, "again") == card
    assert card_from_dict(json.loads(json.dumps(plain)), "as JSON") == card
    assert card_from_dict(yaml.safe_load(yaml.safe_dump(plain)), "as YAML") == card


def test_wishes_of_a_card(values: dict[str, Any]) -> None:
    wishes = {"tiling": {"lattice": "even", "stride": [32, 24]}, "mirror": [1]}
    card = card_from_dict({**values, **wishes, "folds": ["b.safetensors"]}, "x")
    plain = yaml.safe_load(yaml.safe_dump(card_to_dict(card)))
    assert card_from_dict(plain, "again") == card
    asked = TilingSpec(stride=(16, 16)).over(card.tiling)
    assert asked == TilingSpec(stride=(16, 16), lattice=Lattice.EVEN)
    for wrong, told in (
        ({"tiling": {"window": [64, 64]}}, "tiling.window: is no wish of a model"),
        ({"tiling": {"strid": [64, 64]}}, "tiling.*strid"),
        ({"mirror": [2]}, "mirror: a 2-D image has axes 0 to 1"),
        ({"format": "onnx", "folds": ["b"]}, "folds: are of format tiledseg only"),
    ):
        with pytest.raises(ConfigError, match=told):
            card_from_dict({**values, **wrong}, "x")


def test_one_output_may_stand_for_two_classes(values: dict[str, Any]) -> None:
    two = {**values, "classes": [{"name": "clear"}, {"name": "cloud"}], "single_output": True}
    assert card_from_dict({**two, "activation": "none"}, "x").outputs == 1
    with pytest.raises(ConfigError, match="single_output: needs two classes and activation"):
        card_from_dict(two, "x")


WRONG = {
    "unknown key": ({"wieghts": 1}, "wieghts: there is no such key"),
    "missing": ({"weights": ...}, "weights: is missing"),
    "channels a number": ({"channels": 3}, "channels: input should be a valid list, found 3"),
    "no channel": ({"channels": []}, "channels: list should have at least 1 item"),
    "channel no name": ({"channels": ["a", 3]}, "channels.1: input should be a valid string"),
    "one class": ({"classes": [{"name": "x"}]}, "classes: list should have at least 2 items"),
    "class no name": (
        {"classes": [["land"], {"name": "water"}]},
        "classes.0: expected keys and values, found ['land']",
    ),
    "class key": (
        {"classes": [{"name": "a", "colour": [1, 2, 3]}, {"name": "b"}]},
        "classes.0.colour: there is no such key",
    ),
    "colour": (
        {"classes": [{"name": "a"}, {"name": "b", "color": [1, 2, 300]}]},
        "classes.1.color.2: input should be less than or equal to 255, found 300",
    ),
    "class id": ({"classes": [{"name": "a", "id": 70000}, {"name": "b"}]}, "class id 70000 of 'a'"),
    "one id, two names": (
        {"classes": [{"name": "a", "id": 1}, {"name": "b"}]},
        "class id 1 is named 'a' and 'b'",
    ),
    "background": ({"background": 5}, "background: no class has the id 5"),
    "dims": ({"dims": 4}, "dims: input should be 2 or 3, found 4"),
    "rim": ({"rim": 2}, "layout, output and rim: are of graph files only"),
    "format": (
        {"format": "pickle"},
        "format: input should be 'tiledseg', 'onnx', 'openvino', 'torchscript' or 'pt2', found "
        "'pickle'",
    ),
    "activation": ({"activation": "relu"}, "activation: input should be 'softmax'"),
    "locality": ({"locality": "near"}, "locality: input should be 'local'"),
    "margin": ({"margin": -1}, "margin: input should be greater than or equal to 0, found -1"),
    "multiple": ({"multiple": 0}, "multiple: input should be greater than or equal to 1"),
    "window axes": ({"window": [64]}, "window: expected 2 positive numbers, found (64,)"),
    "window empty": ({"window": [64, 0]}, "window: expected 2 positive numbers, found (64, 0)"),
    "window multiple": ({"window": [64, 50]}, "window: (64, 50) must be a multiple of 4"),
    "spacing axes": ({"spacing": [1.0]}, "spacing: expected 2 positive numbers, found (1.0,)"),
    "spacing sign": ({"spacing": [1, -1]}, "spacing: expected 2 positive numbers"),
    "2-D orientation": ({"orientation": "LIA"}, "orientation: expected one of R/L, A/P and I/S"),
    "step kind": ({"normalization": [{"kind": "zscore"}]}, "unknown normalisation 'zscore'"),
    "step field": (
        {"normalization": [{"kind": "linear", "gain": 1}]},
        "normalisation 'linear': Linear.__init__() got an unexpected keyword argument 'gain'",
    ),
    "step length": (
        {"normalization": [{"kind": "linear", "scale": [1, 2, 3]}]},
        "normalization.linear.scale: expected 1 or 2 numbers, found [1, 2, 3]",
    ),
    "step list": (
        {"normalization": [{"kind": "log", "scale": [1, 2]}]},
        "normalization.log.scale: expected a number, found [1, 2]",
    ),
    # YAML takes 1e-4, without a point, for a text.
    "step text": (
        {"normalization": [{"kind": "linear", "scale": ["1e-4"]}]},
        "normalization.linear.scale: expected 1 or 2 numbers, found ['1e-4']",
    ),
    "step beyond float32": (
        {"normalization": [{"kind": "linear", "scale": [1e308]}]},
        "normalization.linear.scale: expected 1 or 2 numbers, found [1e+308]",
    ),
    "percentile": (
        {"normalization": [{"kind": "scene_range", "low": 200, "high": 300}]},
        "normalization.scene_range: expected percentiles of 0 to 100, found low 200 and high 300",
    ),
    "percentiles": (
        {"normalization": [{"kind": "scene_range", "low": 90, "high": 10}]},
        "normalization.scene_range: expected low below high, found low 90 and high 10",
    ),
    "clip": (
        {"normalization": [{"kind": "clip", "low": [0], "high": [1, 0]}]},
        "normalization.clip: expected low below high, found low (0,) and high (1, 0)",
    ),
    "huge window": ({"window": [10**4000, 4]}, "window.0: input should be less than or equal to"),
    "huge margin": ({"margin": 10**30}, "margin: input should be less than or equal to"),
    "step kind of another form": (
        {"normalization": [{"kind": {"name": "log"}}]},
        "unknown normalisation {'name': 'log'}",
    ),
    "one deviation of 0": (
        {"normalization": [{"kind": "standard", "std": 0}]},
        "normalization.standard.std: expected numbers other than 0, found 0",
    ),
    "a name that is no text": ({"name": "\ud800"}, "'\\ud800': is no text"),
    "a class that is no text": (
        {"classes": [{"name": "a"}, {"name": "\udcff"}]},
        "the name of class 1, '\\udcff', is no UTF-8 text",
    ),
    "step infinite": (
        {"normalization": [{"kind": "clip", "high": [float("inf")]}]},
        "normalization.clip.high: expected 1 or 2 numbers, found [inf]",
    ),
}


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(values: dict[str, Any], change: dict[str, Any], told: str) -> None:
    wrong = {k: v for k, v in {**values, **change}.items() if v is not ...}
    with pytest.raises(ConfigError, match=re.escape(f"card x.yaml: {told}")) as caught:
        card_from_dict(wrong, "x.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("letters", ["LLA", "XYZ", "LI", "LIAS", ""])
def test_orientation_names_three_axes(values: dict[str, Any], letters: str) -> None:
    volume = {**values, "dims": 3, "window": [8, 8, 8], "spacing": None}
    assert card_from_dict({**volume, "orientation": "LIA"}, "x").orientation == "LIA"
    with pytest.raises(ConfigError, match=f"one of R/L, A/P and I/S each, found '{letters}'"):
        card_from_dict({**volume, "orientation": letters}, "x")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_card_is_keys_and_values(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model\.yaml: expected keys and values, found"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"name: [unclosed",
        b"\xff\xfe\x00name",
        b"!!python/object:a.B {}",
        b"licence: 2024-99-99",
        b"name: !!bool perhaps",
        b"name: " + b"[" * 3000,
        b"name: &a [*a]",
        BOMB.encode(),
    ],
    ids=["open", "no text", "object", "date", "no truth", "deep", "holds itself", "bomb"],
)
def test_what_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"card .*model\.yaml cannot be read") as caught:
        read_card(tmp_path)
    assert "\n" not in str(caught.value)


def test_texts_of_several_lines_stay_readable(values: dict[str, Any], tmp_path: Path) -> None:
    told = "trained on:\na table  of two\nlines"
    card = replace(card_from_dict(values, "x"), provenance=told)
    write_card(card, tmp_path)
    lines = (tmp_path / "model.yaml").read_text().splitlines()
    assert "  a table  of two" in lines
    assert read_card(tmp_path) == card


def test_no_card(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no model card .*model\.yaml"):
        read_card(tmp_path)


def test_weights_lie_beside_the_card(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = card_from_dict(values, "x")
    assert weights_paths(card, tmp_path) == (tmp_path / "weights.safetensors",)
    for outside in ("../other/w.safetensors", "a/../../w.safetensors", "/etc/passwd"):
        with pytest.raises(ConfigError, match="must lie beside the card"):
            weights_paths(replace(card, weights=outside), tmp_path)
    elsewhere = replace(card, weights="${TILEDSEG_TEST_FOLDER}/w.onnx")
    with pytest.raises(ConfigError, match="names a variable not set"):
        weights_paths(elsewhere, tmp_path)
    monkeypatch.setenv("TILEDSEG_TEST_FOLDER", "/somewhere")
    assert weights_paths(elsewhere, tmp_path) == (Path("/somewhere/w.onnx"),)
