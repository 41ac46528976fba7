"""Foreign weights: the same outputs as the network they were saved from, or one sentence."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import tiledseg
from tiledseg.cli import run
from tiledseg.errors import ConfigError, DamagedInput, OutputFailed
from tiledseg.models import (
    ModelCard,
    card_from_dict,
    create_network,
    describe_model,
    find_card,
    load_model,
)
from tiledseg.models._foreign._checkpoint import read_checkpoint

#: What a state dict does not say of itself.
SAID = {
    "dims": 2,
    "channels": ["red", "nir"],
    "classes": ["land", "water", "cloud"],
    "window": [64, 48],
    "multiple": 4,
    "architecture": {"name": "unet", "channels": [4, 8, 8], "strides": [2, 2], "norm": "batch"},
}


@pytest.fixture
def network() -> torch.nn.Module:
    """A network whose weights someone trained elsewhere."""
    torch.manual_seed(4)
    classes = [{"name": str(name)} for name in SAID["classes"]]
    card = {**SAID, "classes": classes, "name": "x", "format": "tiledseg", "weights": "w"}
    made = create_network(card_from_dict(card, "x"))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def agrees(model: Path, network: torch.nn.Module) -> None:
    """Check that a model gives what a network gives."""
    x = torch.randn(2, 2, 64, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network(x)
    torch.testing.assert_close(load_model(model)(x), expected, rtol=1e-5, atol=1e-5)


def wrapped(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: values for name, values in state.items()}


WRITERS: dict[str, Callable[[dict[str, Any], Path], object]] = {
    "plain.pt": torch.save,
    "old.pth": lambda s, p: torch.save(s, p, _use_new_zipfile_serialization=False),
    "parallel.pth": lambda s, p: torch.save({"state_dict": wrapped(s, "module."), "epoch": 3}, p),
    "compiled.bin": lambda s, p: torch.save({"model": wrapped(s, "_orig_mod.")}, p),
    "nested.pt": lambda s, p: torch.save({"model": {"state_dict": s}, "optimizer": {}}, p),
    "lightning.ckpt": lambda s, p: torch.save(
        {
            "pytorch-lightning_version": "2.6",
            "hyper_parameters": {"lr": 0.1},
            "state_dict": {**wrapped(s, "model."), "criterion.weight": torch.ones(3)},
        },
        p,
    ),
    "plain.safetensors": save_file,
}


def test_settings_that_lightning_and_numpy_wrote_are_read(tmp_path: Path) -> None:
    """Their classes are plain dicts and numbers; numpy before 2 had another name for its own."""
    places = ["lightning", "lightning.fabric", "lightning.fabric.utilities"]
    written = ModuleType("lightning.fabric.utilities.data")
    written.AttributeDict = type("AttributeDict", (dict,), {"__module__": written.__name__})
    values = {
        "hyper_parameters": written.AttributeDict(lr=0.1),
        "arguments": Namespace(epochs=3),
        "best": np.float64(0.25),
        "version": torch.__version__,
    }
    with pytest.MonkeyPatch.context() as patch:
        for place in places:
            patch.setitem(sys.modules, place, ModuleType(place))
        patch.setitem(sys.modules, written.__name__, written)
        torch.save(values, tmp_path / "a.ckpt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "a.ckpt").read_bytes()
    assert b"numpy._core.multiarray" in whole
    old = whole.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "b.ckpt").write_bytes(old)
    for name in ("a.ckpt", "b.ckpt"):
        found = read_checkpoint(tmp_path / name)
        assert type(found["hyper_parameters"]) is dict
        assert found == {**values, "hyper_parameters": {"lr": 0.1}}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_of_any_wrapper_are_the_network(
    network: torch.nn.Module, tmp_path: Path, name: str
) -> None:
    state = {k: v.clone() for k, v in network.state_dict().items()}
    WRITERS[name](state, tmp_path / name)
    made = tiledseg.import_model(tmp_path / name, tmp_path / "model", **SAID)
    agrees(tmp_path / "model", network)
    assert made.kind.startswith("state dict")
    assert made.files == (tmp_path / "model/model.yaml", tmp_path / "model/weights.safetensors")
    stripped = [note for note in made.notes if "taken off" in note]
    assert bool(stripped) == (name in ("parallel.pth", "compiled.bin", "lightning.ckpt"))
    assert ("1 tensors outside of it" in str(stripped)) == (name == "lightning.ckpt")
    # The same file with the card beside it needs no import.
    (tmp_path / name).with_suffix(".yaml").write_text(yaml.safe_dump(SAID))
    agrees(tmp_path / name, network)
    assert len(find_card(tmp_path / name).sha256 or "") == 64


def test_the_shell_says_what_it_understood(
    network: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pth")
    said = {**SAID, "licence": "MIT"}
    said |= {"normalization": [{"kind": "linear", "scale": [0.1, 0.2], "offset": [1]}]}
    sets = [f"{key}={json.dumps(value)}" for key, value in said.items()]
    command = ["import", str(tmp_path / "net.pth"), "--out", str(tmp_path / "model")]
    for part in sets:
        command += ["--set", part]
    assert run(command) == 0
    told = capsys.readouterr().out
    for fact in (
        "understood    state dict",
        "network       unet",
        "channels      2: red, nir",
        "classes       3: 0 land, 1 water, 2 cloud",
        "window        64 x 48, multiples of 4",
        "normalisation linear (scale 0.1, 0.2, offset 1)",
        "licence       MIT",
        "provenance    imported from net.pth, sha256 ",
    ):
        assert fact in told
    assert run(["info", str(tmp_path / "model")]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["kind"], shown["licence"]) == ("model", "MIT")
    assert "net.pth" in shown["provenance"]
    assert run([*command, "--json"]) == 0  # over what it wrote itself
    again = json.loads(capsys.readouterr().out)
    assert again["card"]["classes"][2]["name"] == "cloud"


def test_what_is_missing_is_asked_for(
    network: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pth")
    with pytest.raises(ConfigError, match=r"not say dims, .*architecture.name; .*--set") as caught:
        load_model(tmp_path / "net.pth")
    assert "\n" not in str(caught.value)
    assert run(["info", str(tmp_path / "net.pth"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["understood"] == "state dict"
    assert "does not say dims, channels" in told["missing"]
    (tmp_path / "net.yaml").write_text(yaml.safe_dump({**SAID, "licence": "MIT"}))
    assert run(["info", str(tmp_path / "net.pth"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["licence"], told["channels"]) == ("MIT", ["red", "nir"])
    assert told["notes"] == ["the card is net.yaml, which lies beside it"]
    (tmp_path / "net.yaml").unlink()
    with pytest.raises(ConfigError, match="channel: there is no such key"):
        tiledseg.import_model(tmp_path / "net.pth", tmp_path / "model", **SAID, channel=["x"])
    assert not (tmp_path / "model").exists()


def test_weights_of_another_network_are_told_in_one_sentence(
    network: torch.nn.Module, tmp_path: Path
) -> None:
    state = network.state_dict()
    first, *_, last = state
    del state[first]
    state["other"] = torch.zeros(1)
    state[last] = torch.zeros(7, 7)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ConfigError, match="do not fit card 'net'") as caught:
        tiledseg.import_model(tmp_path / "net.pth", tmp_path / "model", **SAID)
    told = str(caught.value)
    assert f"1 tensor is missing ({first})" in told
    assert "1 tensor is not known to it (other)" in told
    assert f"({last} is 7x7, should be" in told


def test_other_files_are_not_written_over(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pth")
    out = tmp_path / "out"
    tiledseg.import_model(tmp_path / "net.pth", out, **SAID)
    (out / "thesis.txt").write_text("ten years")
    for place in (out, tmp_path / "net.pth", tmp_path):
        with pytest.raises(ConfigError, match="holds something else than an imported model"):
            tiledseg.import_model(tmp_path / "net.pth", place, **SAID)
    assert (out / "thesis.txt").read_text() == "ten years"
    assert isinstance(find_card(out), ModelCard)


DAMAGED: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "NaN": (lambda v: v * float("nan"), "are damaged: there is NaN in .*weight"),
    "sparse": (lambda v: v.to_sparse(), "1 tensor is not stored as plain numbers"),
    "without numbers": (lambda v: v.to("meta"), "1 tensor is not stored as plain numbers"),
    "bytes": (lambda v: v.to(torch.int8), "no weights .*weight is int8"),
    "complex": (lambda v: v.to(torch.complex64), "no weights .*weight is complex64"),
}


@pytest.mark.parametrize("harm", DAMAGED)
def test_tensors_that_are_no_weights(network: torch.nn.Module, tmp_path: Path, harm: str) -> None:
    spoil, told = DAMAGED[harm]
    state = dict(network.state_dict())
    first = next(k for k, v in state.items() if v.ndim > 1)
    torch.save({**state, first: spoil(state[first])}, tmp_path / "net.pth")
    with pytest.raises((ConfigError, DamagedInput), match=told) as caught:
        tiledseg.import_model(tmp_path / "net.pth", tmp_path / "model", **SAID)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model" / "model.yaml").exists()


def test_the_source_is_not_written_over(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pth")
    out = tmp_path / "out"
    made = tiledseg.import_model(tmp_path / "net.pth", out, **SAID)
    before = {path: path.read_bytes() for path in out.iterdir()}
    for source in (out, out / made.card.weights):
        with pytest.raises(ConfigError, match="is, or holds, what is imported"):
            tiledseg.import_model(source, out, licence="MIT")
    assert before == {path: path.read_bytes() for path in out.iterdir()}


def test_one_import_at_a_time(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pth")
    out = tmp_path / "out"
    out.mkdir()
    other = os.open(out, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(ConfigError, match="another import is writing to"):
        tiledseg.import_model(tmp_path / "net.pth", out, **SAID)
    assert not list(out.iterdir())
    os.close(other)
    assert tiledseg.import_model(tmp_path / "net.pth", out, **SAID).files


def test_an_import_that_fails_leaves_the_earlier_one(
    network: torch.nn.Module, tmp_path: Path
) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pth")
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    out = tmp_path / "out"
    tiledseg.import_model(tmp_path / "net.pth", out, **SAID)
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ConfigError, match="do not fit"):
        tiledseg.import_model(tmp_path / "other.pth", out, **SAID)
    assert before == {path: path.read_bytes() for path in out.iterdir()}
    (out / ".partial").mkdir()  # as a killed import leaves it
    (out / ".partial" / "weights.safetensors").touch()
    tiledseg.import_model(tmp_path / "net.pth", out, **SAID, licence="MIT")
    assert {path.name for path in out.iterdir()} == {path.name for path in before}


def test_a_full_disk_is_told(network: torch.nn.Module, tmp_path: Path) -> None:
    """Whatever the limit of a file stands for, it is met while weights are written."""
    import resource

    torch.save(network.state_dict(), tmp_path / "net.pth")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputFailed, match=r"cannot be written: .*(large|space)"):
            tiledseg.import_model(tmp_path / "net.pth", tmp_path / "out", **SAID)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "out").exists()


def test_every_fold_is_a_model_of_its_own(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pth")
    out = tmp_path / "out"
    tiledseg.import_model(tmp_path / "net.pth", out, **SAID)
    shutil.copy(out / "weights.safetensors", out / "fold_1.safetensors")
    values = yaml.safe_load((out / "model.yaml").read_text())
    (out / "model.yaml").write_text(yaml.safe_dump({**values, "folds": ["fold_1.safetensors"]}))
    made = tiledseg.import_model(out, tmp_path / "two")
    assert made.card.folds == ("fold_1.safetensors",)
    for name in ("weights.safetensors", "fold_1.safetensors"):
        card = find_card(tmp_path / "two" / name)
        assert (card.weights, card.folds) == (name, ())


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "is empty"), (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF"), (b"keras", "begins with")],
)
def test_what_torch_cannot_have_written(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "w.pt"
    file.write_bytes(content)
    with pytest.raises(DamagedInput, match=f"not a file of weights that can be read: .*{told}"):
        describe_model(file)


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no model at"):
        tiledseg.import_model(tmp_path / "no", tmp_path / "model")
    (tmp_path / "a.txt").write_text("weights")
    with pytest.raises(ConfigError, match="is no kind of foreign model"):
        tiledseg.import_model(tmp_path / "a.txt", tmp_path / "model")
    torch.save({"a": {"b": 1}}, tmp_path / "a.pt")
    with pytest.raises(DamagedInput, match=r"holds no state dict: .*found a"):
        tiledseg.import_model(tmp_path / "a.pt", tmp_path / "model", **SAID)


def test_an_onnx_file_is_copied_beside_its_card(
    make_onnx: Callable[..., Path], tmp_path: Path
) -> None:
    file = make_onnx()
    file.with_suffix(".yaml").unlink()
    said = {**SAID, "multiple": 1, "architecture": {}}
    made = tiledseg.import_model(file, tmp_path / "model", **said)
    assert made.kind == "ONNX graph"
    x = torch.randn(1, 2, 64, 48)
    file.with_suffix(".yaml").write_text(
        (tmp_path / "model/model.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    torch.testing.assert_close(load_model(tmp_path / "model")(x), load_model(file)(x))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "features", "activation"),
    [("model5_gw_ae", 5, "relu"), ("model30chan18cls", 30, "elu")],
)
def test_real_weights_by_name_are_the_converted_graph(
    data: Path, tmp_path: Path, name: str, features: int, activation: str
) -> None:
    """Weights of brainchop: the state dict in a MeshNet by name, and ONNX made by another way."""
    place = data / "models/brainchop" / name
    card = Path(__file__).parents[2] / "configs/models"
    graph = next(p for p in card.glob("brainchop_*.yaml") if f"/{name}.onnx" in p.read_text())
    said = yaml.safe_load(graph.read_text())
    kept = ("dims", "channels", "classes", "window", "normalization", "orientation", "licence")
    network = {"name": "meshnet", "features": features, "norm": None, "activation": activation}
    weights = place / f"{name}.state_dict.pt"
    made = tiledseg.import_model(
        weights, tmp_path / "m", architecture=network, **{key: said[key] for key in kept}
    )
    assert made.card.licence == "MIT"
    x = torch.rand(1, 1, 24, 32, 20, generator=torch.Generator().manual_seed(2))
    expected = load_model(graph)(x)
    torch.testing.assert_close(load_model(tmp_path / "m")(x), expected, rtol=1e-4, atol=1e-4)
