"""Folders of segmentation_models_pytorch's save_pretrained: the same outputs as the library's."""

from __future__ import annotations

import json
import pickle
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiledseg
from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.models import find_card, load_model

if find_spec("segmentation_models_pytorch") is None:
    pytest.skip("segmentation_models_pytorch is not installed", allow_module_level=True)

from tiledseg.models._smp import smp  # the door mends its import

MADE: dict[str, dict[str, Any]] = {
    "Unet": {"encoder_name": "resnet18", "encoder_depth": 3, "in_channels": 4, "classes": 3}
    | {"decoder_channels": (32, 16, 8)},
    "FPN": {"encoder_name": "tu-mobilenetv3_small_050", "in_channels": 3, "classes": 1},
    "DeepLabV3Plus": {"encoder_name": "tu-mobilenetv3_small_050", "classes": 2}
    | {"aux_params": {"classes": 4}},
}


def saved(name: str, folder: Path, **changes: Any) -> torch.nn.Module:
    torch.manual_seed(3)
    network: Any = getattr(smp, name)(**{**MADE[name], **changes}, encoder_weights=None)
    network.save_pretrained(folder)
    return network.eval()


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize("name", MADE)
def test_a_folder_gives_what_the_library_gives(tmp_path: Path, name: str) -> None:
    network = saved(name, tmp_path / "saved")
    card = find_card(tmp_path / "saved")
    x = torch.randn(1, len(card.channels), 64, 96)
    with torch.inference_mode():
        expected = network(x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(load_model(tmp_path / "saved")(x), expected, rtol=1e-4, atol=1e-4)
    made = tiledseg.import_model(tmp_path / "saved", tmp_path / "native")
    torch.testing.assert_close(load_model(tmp_path / "native")(x), expected, rtol=1e-4, atol=1e-4)
    assert made.kind == "segmentation_models_pytorch folder"
    assert made.card.outputs == MADE[name]["classes"]
    assert made.card.single_output == (made.card.outputs == 1)
    assert made.card.window == (512, 512)
    assert any("does not name its classes" in note for note in made.notes)


@pytest.mark.parametrize(
    "values",
    [
        {"_model_class": ["FPN"]},
        {"classes": 10**18},
        {"classes": True},
        {"in_channels": 10**9},
        {"encoder_name": ["resnet18"]},
        {"encoder_name": "../../etc/passwd"},
        {"encoder_name": "tu-hf-hub:timm/resnet18"},
        {"encoder_depth": "5"},
        {"encoder_depth": 10**9},
        {"decoder_pyramid_channels": {"a": 1}},
    ],
    ids=repr,
)
def test_a_config_that_makes_no_sense(tmp_path: Path, values: dict[str, Any]) -> None:
    saved("FPN", tmp_path)
    change(tmp_path, **values)
    with pytest.raises(ConfigError) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "whole",
    [
        None,
        {"transform": None},
        {"transform": {"transforms": 5}},
        {"transform": {"transforms": [5]}},
        {"transform": {"__class_fullname__": "Normalize", "mean": [0], "std": [1e-300]}},
        {"transform": {"__class_fullname__": "Normalize", "mean": [10**400], "std": [1]}},
        {"transform": {"__class_fullname__": "Normalize", "mean": [0], "std": [float("nan")]}},
    ],
    ids=repr,
)
def test_transforms_that_make_no_sense(tmp_path: Path, whole: Any) -> None:
    saved("FPN", tmp_path)
    (tmp_path / "albumentations_config_eval.json").write_text(json.dumps(whole))
    with pytest.raises(ConfigError, match="albumentations_config_eval"):
        find_card(tmp_path)


def test_an_encoder_from_imagenet_wants_its_images(tmp_path: Path) -> None:
    saved("FPN", tmp_path)
    assert find_card(tmp_path).normalization.steps == ()
    change(tmp_path, encoder_weights="imagenet", encoder_name="resnet18")
    chain = find_card(tmp_path).normalization
    image = np.random.default_rng(1).integers(0, 256, (3, 20, 20)).astype("f4")
    timm = import_module("timm.data")  # after the door: it imports torchvision
    numbers = timm.IMAGENET_DEFAULT_MEAN, timm.IMAGENET_DEFAULT_STD
    mean, std = (np.array(v)[:, None, None] for v in numbers)
    wanted = (image / 255 - mean) / std
    np.testing.assert_allclose(chain(image, np.ones((20, 20), bool)), wanted, atol=1e-5)
    change(tmp_path, encoder_weights="imagenet", encoder_name="tu-resnet18")
    assert find_card(tmp_path).normalization.steps == (), "timm's have numbers of their own"


def test_what_albumentations_saved_is_done(tmp_path: Path) -> None:
    saved("Unet", tmp_path)
    normalize = {
        "__class_fullname__": "Normalize",
        "mean": [0.1, 0.2, 0.3, 0.4],
        "std": [0.5, 0.6, 0.7, 0.8],
        "max_pixel_value": 10000.0,
        "normalization": "standard",
    }
    listed = [normalize, {"__class_fullname__": "Resize"}, {"__class_fullname__": "ToTensorV2"}]
    whole = {"transform": {"__class_fullname__": "Compose", "transforms": listed}}
    file = tmp_path / "albumentations_config_eval.json"
    file.write_text(json.dumps(whole))
    chain = find_card(tmp_path).normalization
    image = np.random.default_rng(1).integers(0, 9000, (4, 20, 20)).astype("f4")
    mean, std = (np.array(normalize[key])[:, None, None] for key in ("mean", "std"))
    wanted = (image / 10000 - mean) / std
    np.testing.assert_allclose(chain(image, np.ones((20, 20), bool)), wanted, atol=1e-5)
    made = tiledseg.import_model(tmp_path, tmp_path.parent / "native")
    assert any(note.endswith("not done: Resize") for note in made.notes)
    normalize["normalization"] = "image"
    file.write_text(json.dumps(whole))
    with pytest.raises(ConfigError, match=r"Normalize .* is not of the standard form"):
        find_card(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"_model_class": "Linknet"}, "architecture 'linknet' is not known"),
        ({"classes": 0}, "classes: expected a whole number, 1 to 65534, found 0"),
        ({"in_channels": "three"}, "in_channels: expected a whole number"),
        ({"encoder_name": "resnet9000"}, "there is no encoder 'resnet9000'"),
        ({"decoder_depth": 3}, "takes no argument 'decoder_depth'"),
        ({"classes": 7}, "do not fit card"),
    ],
)
def test_a_config_that_is_wrong_is_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    saved("Unet", tmp_path)
    change(tmp_path, **changes)
    with pytest.raises(ConfigError, match=told) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_payload_in_the_weights_does_not_run(tmp_path: Path, payload: Any, how: str) -> None:
    saved("Unet", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    bad = {"w": payload}
    weights = tmp_path / "pytorch_model.bin"
    torch.save(bad, weights) if how == "torch" else weights.write_bytes(pickle.dumps(bad, 2))
    for use in (load_model, lambda path: tiledseg.import_model(path, tmp_path / "native")):
        with pytest.raises(DamagedInput, match="is refused: to load it"):
            use(tmp_path)
    assert not payload.sentinel.exists()
