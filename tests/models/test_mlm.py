"""STAC-MLM items written by pystac run on a scene, with its bands picked by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import yaml
from rasterio import Affine

import tiledseg
from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.models import find_card, load_model

pystac = pytest.importorskip("pystac")
mlm = pytest.importorskip("pystac.extensions.mlm")

from pystac.extensions.classification import Classification  # noqa: E402  # if it is there

CLASSES = {"land": "50783c", "water": "0000ff", "cloud": "f0f0ff"}
MakeOnnx = Callable[..., Path]


def scaling(kind: str, **numbers: float) -> Any:
    return mlm.ValueScaling.create(mlm.ValueScalingType(kind), **numbers)


def write_item(
    weights: Path,
    scalings: list[Any] | None = None,
    bands: tuple[str, ...] = ("red", "nir"),
    shape: tuple[int, ...] = (-1, 2, -1, -1),
) -> Path:
    """Write an item for a model of two bands and three classes, as its author would."""
    given = mlm.ModelInput.create(
        name="image",
        bands=[mlm.ModelBand.create(name) for name in bands],
        input=mlm.InputStructure.create(
            shape=list(shape),
            dim_order=["batch", "channel", "height", "width"],
            data_type="float32",
        ),
        value_scaling=scalings[0] if scalings else None,
    )
    if scalings and len(scalings) > 1:  # which pystac has no argument for
        given.properties["value_scaling"] = [s.to_dict() for s in scalings]
    made = mlm.ModelOutput.create(
        name="scores",
        tasks=[mlm.TaskType.SEMANTIC_SEGMENTATION],
        result=mlm.ResultStructure.create(
            shape=[-1, 3, -1, -1],
            dim_order=["batch", "channel", "height", "width"],
            data_type="float32",
        ),
        classes=[
            Classification.create(value=i, name=name, color_hint=color.upper())
            for i, (name, color) in enumerate(CLASSES.items())
        ],
    )
    when = datetime(2026, 1, 1, tzinfo=UTC)
    item = pystac.Item("cover-1", None, None, when, {"license": "MIT", "gsd": 10.0})
    asset = pystac.Asset(
        f"./{weights.name}", roles=["mlm:model"], extra_fields={"mlm:artifact_type": "onnx"}
    )
    item.add_asset("model", asset)
    extension = mlm.MLMExtension.ext(item, add_if_missing=True)
    extension.apply(
        name="cover",
        architecture="U-Net",
        tasks=[mlm.TaskType.SEMANTIC_SEGMENTATION],
        input=[given],
        output=[made],
    )
    path = weights.with_suffix(".json")
    item.save_object(include_self_link=False, dest_href=str(path))
    return path


def change(path: Path, *keys: Any, to: Any) -> None:
    """Overrule one value of an item."""
    values = json.loads(path.read_text())
    place = values
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    path.write_text(json.dumps(values))


def write_scene(path: Path, bands: dict[str, np.ndarray]) -> Path:
    size = next(iter(bands.values())).shape
    profile = {"driver": "GTiff", "dtype": "float32", "count": len(bands), "crs": "EPSG:32633"}
    place = Affine(10, 0, 5e5, 0, -10, 5e6)
    with rasterio.open(
        path, "w", height=size[0], width=size[1], transform=place, **profile
    ) as file:
        for number, (name, values) in enumerate(bands.items(), 1):
            file.write(values, number)
            file.set_band_description(number, name)
    return path


@pytest.fixture
def bands() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(2)
    return {
        name: generator.normal(scale, 9, (90, 110)).astype("f4")
        for name, scale in {"red": 20, "nir": 50, "blue": 10}.items()
    }


def test_a_scene_of_another_band_order_gives_the_same_map(
    make_onnx: MakeOnnx, tmp_path: Path, bands: dict[str, np.ndarray]
) -> None:
    numbers = [scaling("z-score", mean=20, stddev=9), scaling("min-max", minimum=10, maximum=90)]
    weights = make_onnx(spacing=None)
    item = write_item(weights, numbers)
    plain = yaml.safe_load(weights.with_suffix(".yaml").read_text())
    steps = [{"kind": "linear", "scale": [1 / 9, 1 / 80], "offset": [-20 / 9, -10 / 80]}]
    plain |= {"normalization": steps, "window": [512, 512], "multiple": 1}
    plain["classes"] = [{"name": name} for name in CLASSES]
    weights.with_suffix(".yaml").write_text(yaml.safe_dump(plain))

    right = write_scene(tmp_path / "a.tif", {name: bands[name] for name in ("red", "nir")})
    direct = tiledseg.segment(right, weights).array
    assert len(np.unique(direct)) == 3
    for order in (("nir", "red"), ("blue", "NIR", "Red"), ("nir", "blue", "red")):
        scene = write_scene(tmp_path / "b.tif", {name: bands[name.lower()] for name in order})
        assert np.array_equal(tiledseg.segment(scene, item).array, direct)

    made = tiledseg.import_model(item, tmp_path / "native")
    assert np.array_equal(tiledseg.segment(scene, tmp_path / "native").array, direct)
    assert made.kind == "STAC-MLM item of ONNX graph"
    card = made.card
    assert (card.name, card.licence, card.spacing) == ("cover", "MIT", (10.0, 10.0))
    assert card.provenance == "STAC item cover-1"
    assert [c.name for c in card.schema.classes] == list(CLASSES)
    assert card.schema.classes[1].color == (0, 0, 255)
    assert "taken as logits" in " ".join(made.notes)


#: What the extension's README says of each.
FORMULAS: dict[str, tuple[dict[str, float], Callable[[Any], Any]]] = {
    "min-max": ({"minimum": 4, "maximum": 9}, lambda x: (x - 4) / (9 - 4)),
    "z-score": ({"mean": 3, "stddev": 7}, lambda x: (x - 3) / 7),
    "clip": ({"minimum": 2, "maximum": 5}, lambda x: np.minimum(np.maximum(x, 2), 5)),
    "clip-min": ({"minimum": 2}, lambda x: np.maximum(x, 2)),
    "clip-max": ({"maximum": 5}, lambda x: np.minimum(x, 5)),
    "offset": ({"value": 3}, lambda x: x - 3),
    "scale": ({"value": 4}, lambda x: x / 4),
}


@pytest.mark.parametrize("second", [None, *FORMULAS])
@pytest.mark.parametrize("kind", FORMULAS)
def test_values_are_scaled_as_the_extension_says(
    make_onnx: MakeOnnx, kind: str, second: str | None
) -> None:
    pair = [kind, second or kind]
    scalings = [scaling(k, **FORMULAS[k][0]) for k in pair]
    item = write_item(make_onnx(), scalings if second else scalings[:1])
    chain = find_card(item).normalization
    x = np.random.default_rng(1).normal(4, 20, (2, 30, 40)).astype("f4")
    found = chain(x, np.ones((30, 40), bool))
    for band, name in enumerate(pair):
        np.testing.assert_allclose(found[band], FORMULAS[name][1](x[band]), rtol=1e-5, atol=1e-5)


def test_a_state_dict_needs_its_architecture(tmp_path: Path, values: dict[str, Any]) -> None:
    from tiledseg.models import card_from_dict, create_network

    network = create_network(card_from_dict(values, "x")).eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pt")
    item = write_item(tmp_path / "w.pt", shape=(-1, 2, 64, 64))
    with pytest.raises(ConfigError, match="do not fit card 'cover'"):
        load_model(item)
    arguments = {k: v for k, v in values["architecture"].items() if k != "name"}
    made = tiledseg.import_model(item, tmp_path / "m", architecture=arguments)
    assert "mlm:architecture 'U-Net' is unet here" in made.notes
    assert (made.card.window, made.card.any_size) == ((64, 64), False)
    x = torch.randn(1, 2, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(load_model(tmp_path / "m")(x), network(x))


INPUT = ("properties", "mlm:input", 0)
OUTPUT = ("properties", "mlm:output", 0)
REFUSED: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "code": (
        (*INPUT, "value_scaling"),
        [{"type": "processing", "format": "python", "expression": "os:system"}],
        r"value_scaling of type processing is code, which is never run: 'os:system'",
    ),
    "unknown scaling": ((*INPUT, "value_scaling"), [{"type": "log"}], r"value_scaling\.0\.type"),
    "half a scaling": ((*INPUT, "value_scaling"), [{"type": "clip"}], "needs minimum and maximum"),
    "by zero": ((*INPUT, "value_scaling"), [{"type": "scale", "value": 0}], "divides by zero"),
    "three for two": ((*INPUT, "value_scaling"), [{"type": None}] * 3, "3 value_scaling objects"),
    "computed band": (
        (*INPUT, "bands", 0),
        {"name": "ndvi", "format": "gdal-calc", "expression": "(A-B)/(A+B)"},
        r"'ndvi' is computed by '\(A-B\)/\(A\+B\)', which is never run",
    ),
    "preprocessing": (
        (*INPUT, "pre_processing_function"),
        {"format": "python", "expression": "os:system"},
        "normalization: pre_processing_function .* is code, which is never run",
    ),
    "time": (
        (*INPUT, "input", "dim_order"),
        ["batch", "time", "height", "width"],
        r"dimensions are .*'time'.*, expected batch, channel, height and width",
    ),
    "fewer bands": ((*INPUT, "bands"), ["red"], "2 channels and 1 bands"),
    "one output": (
        (*OUTPUT, "classification:classes"),
        [{"value": 0, "name": "a"}],
        "3 channels and 1 classes",
    ),
    "no numbers": ((*INPUT, "input", "shape"), "wide", "shape: input should be a valid list"),
    "outside": (("assets", "model", "href"), "../other.onnx", "no model that is known here"),
    "elsewhere": (("assets", "model", "href"), "/etc/passwd", "no model that is known here"),
    "itself": (("assets", "model", "href"), "./a.json", "no model that is known here"),
    "no role": (("assets", "model", "roles"), ["data"], "there are none"),
    "no name": (("properties", "mlm:name"), None, "mlm:name: input should be a valid string"),
}


@pytest.mark.parametrize(("keys", "value", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused(
    make_onnx: MakeOnnx, tmp_path: Path, keys: tuple[Any, ...], value: Any, told: str
) -> None:
    file = make_onnx()
    item = write_item(file)
    (tmp_path.parent / "other.onnx").write_bytes(file.read_bytes())
    change(item, *keys, to=value)
    with pytest.raises(ConfigError, match=told) as caught:
        find_card(item)
    assert "\n" not in str(caught.value)


def test_code_that_the_user_replaces_is_no_hindrance(make_onnx: MakeOnnx, tmp_path: Path) -> None:
    item = write_item(make_onnx())
    change(item, *INPUT, "pre_processing_function", to={"format": "python", "expression": "a:b"})
    made = tiledseg.import_model(item, tmp_path / "m", normalization=[{"kind": "log"}])
    assert [step.kind for step in made.card.normalization.steps] == ["log"]


def test_the_checksum_of_an_asset_is_kept(make_onnx: MakeOnnx) -> None:
    file = make_onnx()
    item = write_item(file)
    change(item, "assets", "model", "file:checksum", to="1220" + "ab" * 32)
    with pytest.raises(DamagedInput, match="file:checksum"):
        find_card(item)
