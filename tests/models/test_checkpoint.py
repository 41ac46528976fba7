"""Native checkpoints: saved and loaded networks agree, and strange files are refused."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.models import (
    ModelCard,
    card_from_dict,
    create_network,
    find_card,
    load_model,
    save_model,
)

PLANE: dict[str, dict[str, Any]] = {
    "unet": {"channels": [4, 8, 8], "strides": [2, 2], "norm": "batch"},
    "basic_unet": {"features": [4, 4, 8, 8, 16, 4], "norm": "batch"},
    "segresnet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "dynunet": {
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
        "norm_name": "batch",
        "deep_supervision": True,
    },
}


@pytest.fixture
def card(values: dict[str, Any]) -> ModelCard:
    """A card of a small U-Net."""
    return card_from_dict(values, "small")


def images(n: int, card: ModelCard, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, len(card.channels), *card.window, generator=generator)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", PLANE)
def test_every_architecture_comes_back_the_same(
    values: dict[str, Any], tmp_path: Path, name: str, dims: int
) -> None:
    shape: dict[str, Any] = {"dims": dims, "window": [16] * dims, "spacing": None, "multiple": 16}
    card = card_from_dict({**values, **shape, "architecture": {"name": name, **PLANE[name]}}, name)
    torch.manual_seed(1)
    network = create_network(card)
    network(images(4, card))  # moves the running statistics away from where they start
    x = images(2, card)
    with torch.inference_mode():
        expected = network.eval()(x)
    save_model(network, card, tmp_path / "model")
    found = load_model(tmp_path / "model")(x)
    assert found.shape == (2, 3, *card.window)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_folder_card_and_single_file_are_one_model(card: ModelCard, tmp_path: Path) -> None:
    network = create_network(card)
    save_model(network, card, tmp_path / "model")
    save_model(network, card, tmp_path / "single.safetensors")
    assert sorted(p.name for p in tmp_path.rglob("*")) == [
        "model",
        "model.yaml",
        "single.safetensors",
        "weights.safetensors",
    ]
    modes = {p.stat().st_mode for p in tmp_path.rglob("*.*")}
    assert len(modes) == 1  # whoever may read the card may read the weights
    (tmp_path / "single.safetensors").rename(tmp_path / "renamed.safetensors")
    folder = load_model(tmp_path / "model")
    by_card = load_model(str(tmp_path / "model/model.yaml"))
    single = load_model(tmp_path / "renamed.safetensors")
    assert by_card.card == folder.card
    assert folder.card.sha256 is not None
    assert replace(folder.card, sha256=None) == card
    assert single.card.weights == "renamed.safetensors"
    x = images(1, card)
    assert torch.equal(folder(x), single(x))
    assert torch.equal(folder(x), by_card(x))


@pytest.mark.parametrize("dims", [2, 3])
def test_neighbours_and_position_change_no_bit(
    values: dict[str, Any], tmp_path: Path, dims: int
) -> None:
    shape: dict[str, Any] = {"dims": dims, "window": [32] * dims, "spacing": None}
    card = card_from_dict({**values, **shape}, "x")
    save_model(create_network(card), card, tmp_path / "model")
    model = load_model(tmp_path / "model")
    sample, others = images(1, card), images(6, card, seed=6)
    outputs = []
    for place in range(3):
        for rest in (others[:2], others[2:4] * 100, others[4:] * 0):
            x = torch.cat([rest[:place], sample, rest[place:]])
            outputs.append(model(x)[place])
    assert all(torch.equal(o, outputs[0]) for o in outputs)


def test_weights_are_those_the_card_was_written_for(card: ModelCard, tmp_path: Path) -> None:
    save_model(create_network(card), card, tmp_path)
    digest = load_model(tmp_path).card.sha256
    file = tmp_path / "model.yaml"
    known = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**known, "sha256": digest}))
    assert load_model(tmp_path).card.sha256 == digest
    save_model(create_network(card), card, tmp_path / "other")
    (tmp_path / "other/weights.safetensors").rename(tmp_path / "weights.safetensors")
    with pytest.raises(DamagedInput, match=r"have sha256 .*the card says .*another version"):
        load_model(tmp_path)


def test_weights_are_hashed_once_until_they_change(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(create_network(card), card, tmp_path)
    weights, calls, digest = tmp_path / "weights.safetensors", [], hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: calls.append(a) or digest(*a))
    found = {load_model(tmp_path).card.sha256, *(find_card(tmp_path).sha256 for _ in range(3))}
    assert found == {hashlib.sha256(weights.read_bytes()).hexdigest()}
    assert len(calls) == 1
    state, whole = weights.stat(), bytearray(weights.read_bytes())
    whole[-1] ^= 1
    weights.write_bytes(whole)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a copy with its times kept
    assert find_card(tmp_path).sha256 == hashlib.sha256(whole).hexdigest()


class Hostile:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return self.path.write_text, ("owned",)


def write_pickle(folder: Path, whole: bytes) -> bytes:
    torch.save({"w": Hostile(folder / "owned")}, folder / "w.pt")
    return (folder / "w.pt").read_bytes()


STRANGE = {
    "pickle": write_pickle,
    "empty": lambda folder, whole: b"",
    "header cut": lambda folder, whole: whole[:40],
    "last byte missing": lambda folder, whole: whole[:-1],
    "header length huge": lambda folder, whole: b"\xff" * 8 + whole[8:],
    "text": lambda folder, whole: b"weights, honestly\n" * 100,
}


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_strange_weights_are_refused(
    card: ModelCard, tmp_path: Path, strange: Any, single: bool
) -> None:
    place = tmp_path / ("a.safetensors" if single else "a")
    save_model(create_network(card), card, place)
    weights = place if single else place / "weights.safetensors"
    weights.write_bytes(strange(tmp_path, weights.read_bytes()))
    with pytest.raises(DamagedInput, match="is not a safetensors file") as caught:
        load_model(place)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


def test_weights_of_another_network_are_refused(card: ModelCard, tmp_path: Path) -> None:
    wider = replace(card, architecture={**card.architecture, "channels": [4, 8, 16]})
    save_model(create_network(wider), card, tmp_path / "wider")
    with pytest.raises(ConfigError, match=r"'small' .* is 16.*, should be 8") as caught:
        load_model(tmp_path / "wider")
    assert "\n" not in str(caught.value)
    save_file({"a": torch.zeros(1)}, tmp_path / "wider/weights.safetensors")
    with pytest.raises(
        ConfigError,
        match=r"missing .*1 tensor is not known to it \(a\)",
    ):
        load_model(tmp_path / "wider")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "architecture None is not known; known are fcn, unet, .*, basic_unet"),
    ({"name": "resnet"}, "architecture 'resnet' is not known"),
    ({"name": ["unet"]}, "is not known"),
    ({"name": "unett"}, r"architecture 'unett' is not known \(like unet, unetr"),
    ({"name": "unet", "strides": [2]}, "architecture 'unet' needs features, strides together"),
    ({"name": "unet", "channels": [4, 8], "strides": [2], "depth": 3}, "no argument 'depth'"),
    (
        {"name": "unet", "channels": [4, 8, 8], "strides": [2, 7]},
        r"\(64, 48\) must be a multiple of 14, 14",
    ),
    ({"name": "unet", "channels": [4, 8], "strides": [2], "out_channels": 3}, "out_channels"),
    ({"name": "unet", "channels": [-4, 8], "strides": [2]}, "negative dimension"),
    ({"name": "unet", "channels": [4, 8], "strides": [2], "act": "x"}, "'X' is not a valid value"),
    ({"name": "dynunet", "filters": "many"}, "architecture 'dynunet'"),
]


@pytest.mark.parametrize(("architecture", "told"), WRONG)
def test_wrong_architectures_are_told(
    card: ModelCard, architecture: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=f"card 'small': .*{told}") as caught:
        create_network(replace(card, architecture=architecture))
    assert "\n" not in str(caught.value)


def test_what_is_not_there(card: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"there is no model at {re.escape(str(tmp_path))}/no"):
        load_model(tmp_path / "no")
    save_model(create_network(card), card, tmp_path / "a")
    (tmp_path / "a/weights.safetensors").unlink()
    with pytest.raises(ConfigError, match="card 'small': there are no weights at"):
        load_model(tmp_path / "a")
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ConfigError, match=r"no card inside.*does not say .*channels"):
        load_model(tmp_path / "b.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors", {"tiledseg_card": "{"})
    with pytest.raises(ConfigError, match=r"the card inside .* cannot be read"):
        load_model(tmp_path / "b.safetensors")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_devices_that_are_not_there(card: ModelCard, tmp_path: Path, device: str) -> None:
    save_model(create_network(card), card, tmp_path)
    with pytest.raises(ConfigError, match=f"runtime.device '{device}' cannot be used"):
        load_model(tmp_path, device)
