"""What weights look like: a hint is right, or it is not given."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiledseg
from tiledseg.cli import run
from tiledseg.models._likeness import Likeness, likeness

#: Architecture, encoder, axes and arguments.
MADE: dict[str, tuple[str, str | None, int, dict[str, Any]]] = {
    "encoder": ("unetplusplus", "mobilenet_v2", 2, {}),
    "torchvision": ("fcn", "resnet50", 2, {}),
    "volume": ("basic_unet", None, 3, {}),
    "own": ("plain_conv_unet", None, 3, {}),
}


@pytest.mark.parametrize("kind", MADE)
def test_names_and_shapes_tell_a_network(kind: str) -> None:
    name, encoder, dims, arguments = MADE[kind]
    with torch.device("meta"):
        network = tiledseg.create_model(name, encoder, 4, 7, dims, **arguments)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    assert likeness(state) == Likeness(name, encoder, dims, 4, 7)


def test_without_the_right_arguments_no_numbers_are_told() -> None:
    arguments = {"features": (8, 16, 32, 64), "strides": (2, 2, 2), "num_res_units": 2}
    network = tiledseg.create_model("unet", None, 1, 5, 3, **arguments)
    assert likeness(network.state_dict()) == Likeness("unet", None, 3)
    with torch.device("meta"):
        network = tiledseg.create_model("unet", "xception65", 3, 2)
    assert likeness(network.state_dict()) == Likeness("unet", None, 2)


def test_other_weights_look_like_nothing() -> None:
    assert likeness({}) is None
    assert likeness({"a": torch.zeros(3), "b.weight": torch.zeros(2, 2)}) is None
    conv = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 2, 1))
    assert likeness(conv.state_dict()) is None


def test_the_command_of_a_refusal_imports_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network = tiledseg.create_model("unet", "resnet18", channels=4, classes=3)
    torch.save(network.state_dict(), "net.pth")
    assert run(["import", "net.pth", "--out", "made/here"]) == 2
    told = capsys.readouterr().err
    assert "net.pth (state dict) does not say dims, channels, classes, window, arch" in told
    assert "unet with encoder resnet18 (2-D, 4 channels, 3 classes)" in told
    command = told.partition("say it, like: tiledseg ")[2].partition(", or write these keys to")[0]
    given = ["--set", "channels=[red,'a, b',nir,swir]", "--set", "dims=7", "--set", "licence=MIT"]
    assert run(["import", "net.pth", "--out", "made/here", *given]) == 2
    told = capsys.readouterr().err
    again = told.partition("say it, like: tiledseg ")[2].partition(", or write these keys to")[0]
    assert run([*shlex.split(again), "--out", "again"]) == 0  # what was said, but for what is wrong
    card = yaml.safe_load(Path("again/model.yaml").read_text())
    assert (card["channels"], card["licence"]) == (["red", "a, b", "nir", "swir"], "MIT")
    shutil.rmtree("again")
    wrong = [*shlex.split(command), "--set", "architecture.encoder=resnet34"]
    assert run(wrong) == 2
    assert "these look like weights of unet with encoder resnet18" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth"]  # no folder was left
    assert run(shlex.split(command)) == 0
    assert "replaced" not in capsys.readouterr().out
    card = yaml.safe_load(Path("MODEL/model.yaml").read_text())
    assert (len(card["channels"]), len(card["classes"])) == (4, 3)
    assert run([*shlex.split(command), "--set", "name=again"]) == 0
    told = capsys.readouterr().out
    assert "replaced 'net' (imported from net.pth" in told
