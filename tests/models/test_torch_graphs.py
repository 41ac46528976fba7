"""TorchScript archives and programs of torch.export: run as exported, and never more than that."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.export import Dim

from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.models import find_card, load_model, reference, runtimes
from tiledseg.models._script import load_script

# What torch says of making TorchScript; loading it must be quiet.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")

CARD = {"classes": [{"name": n} for n in "xyz"]}
SCRIPT = {**CARD, "dims": 2, "channels": ["a", "b"], "window": [24, 32]}
X = torch.randn(3, 2, 24, 32, generator=torch.Generator().manual_seed(5))


class Small(nn.Module):
    """Two levels, and a constant that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.down = nn.Conv2d(2, 4, 2, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.scale = torch.tensor([[[1.0]], [[2.0]], [[0.5]]])

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(torch.relu(self.norm(self.down(x)))) * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(x)


class Three(Small):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y = self.scores(x)
        return y.mean((2, 3)), y, -y


class Named(Small):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.scores(x)
        return {"aux": y[:, :1], "out": y}


class Writes(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "written")
        return self.scores(x)


class Reads(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(x) + torch.from_file("/etc/hostname", False, 1)


def beside(path: Path, **card: Any) -> Path:
    path.with_suffix(".yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    return path


def script(path: Path, kind: type[Small] = Small, **card: Any) -> Path:
    torch.jit.script(kind().eval()).save(path)
    return beside(path, **{**SCRIPT, **card})


FREE = {0: Dim.AUTO, 2: 2 * Dim("h", min=2, max=500), 3: 2 * Dim("w", min=2, max=500)}


def program(path: Path, kind: type[Small] = Small, free: Any = FREE, **card: Any) -> Path:
    with torch.no_grad():
        found = torch.export.export(kind().eval(), (X[:2],), dynamic_shapes={"x": free})
    torch.export.save(found, path)
    return beside(path, **{**CARD, **card})


MAKERS: dict[str, Callable[..., Path]] = {".ts": script, ".pt": script, ".pt2": program}
each = pytest.mark.parametrize("suffix", MAKERS)


def expected(x: torch.Tensor = X) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = Small().eval()(x)
    return found


# --------------------------------------------------------------------- running them


@each
def test_it_computes_what_the_network_does(tmp_path: Path, suffix: str) -> None:
    model = load_model(MAKERS[suffix](tmp_path / f"a{suffix}"))
    assert model.runtime == reference(model.card) == ("torch", "fp32")
    assert runtimes(model.card, "cpu") == (model.runtime,)
    for _ in range(4):  # torch's just-in-time optimiser would begin with the third
        assert torch.equal(model(X), expected())
    other = X[:, :, :18, :10].contiguous()
    assert torch.equal(model(other), expected(other))


@each
def test_neighbours_change_no_bit(tmp_path: Path, suffix: str) -> None:
    model = load_model(MAKERS[suffix](tmp_path / f"a{suffix}"))
    others = torch.cat([X[1:2], X[:1], X[2:] * 1000])
    assert torch.equal(model(others)[1], model(X)[0])


def test_tensors_that_are_no_parameters_are_on_the_device_too(tmp_path: Path) -> None:
    network = load_script(script(tmp_path / "a.ts"), "meta")
    assert {network.scale.device.type, network.down.weight.device.type} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each
def test_on_a_gpu(tmp_path: Path, suffix: str) -> None:
    model = load_model(MAKERS[suffix](tmp_path / f"a{suffix}"), "cuda")
    found = model(X.cuda())
    assert (found.device.type, model.device.type) == ("cuda", "cuda")
    torch.testing.assert_close(found.cpu(), expected(), rtol=1e-4, atol=1e-4)
    assert torch.equal(model(X.cuda()), found)


@each
@pytest.mark.parametrize("kind", [Three, Named])
def test_the_first_output_that_can_be_scores(
    tmp_path: Path, suffix: str, kind: type[Small]
) -> None:
    model = load_model(MAKERS[suffix](tmp_path / f"a{suffix}", kind))
    assert torch.equal(model(X), expected())


@pytest.mark.parametrize(
    ("suffix", "kind", "output", "sign"),
    [(".ts", Three, "2", -1), (".ts", Named, "out", 1), (".pt2", Three, "2", -1)],
)
def test_the_output_that_the_card_names(
    tmp_path: Path, suffix: str, kind: type[Small], output: str, sign: int
) -> None:
    file = MAKERS[suffix](tmp_path / f"a{suffix}", kind, output=output)
    assert torch.equal(load_model(file)(X), sign * expected())


@pytest.mark.parametrize("output", ["7", "nope"])
@each
def test_an_output_that_is_not_there(tmp_path: Path, suffix: str, output: str) -> None:
    file = MAKERS[suffix](tmp_path / f"a{suffix}", Three, output=output)
    with pytest.raises(ConfigError, match=rf"gives .*, the card says (output )?'{output}'"):
        load_model(file)(X)


@each
def test_extents_that_do_not_suit_it(tmp_path: Path, suffix: str) -> None:
    model = load_model(
        MAKERS[suffix](tmp_path / f"a{suffix}", free={})
        if suffix == ".pt2"
        else MAKERS[suffix](tmp_path / f"a{suffix}")
    )
    with pytest.raises((RuntimeError, ConfigError), match=rf"a\{suffix}") as caught:
        model(X[:, :, :23])
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------- what a program knows


def test_a_program_tells_its_channels_and_extents(tmp_path: Path) -> None:
    card = find_card(program(tmp_path / "a.pt2"))
    assert (card.name, card.format, card.dims, len(card.channels)) == ("a", "pt2", 2, 2)
    assert (card.window, card.any_size, card.multiple) == ((24, 32), True, 2)


def test_a_program_of_fixed_extents(tmp_path: Path) -> None:
    """Exported for two windows of one extent: five windows are three calls, the last filled up."""
    model = load_model(program(tmp_path / "a.pt2", free={}))
    assert (model.card.window, model.card.any_size) == ((24, 32), False)
    five = torch.cat([X, X[:2] * 2])
    torch.testing.assert_close(model(five), expected(five), rtol=1e-5, atol=1e-5)
    assert torch.equal(model(five)[4], model(five[4:])[0])


class Training(Small):
    """Exported without eval(): its batch norm learns from every window."""

    def eval(self) -> Any:
        return self


class Dropping(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores(nn.functional.dropout(x, training=True))


@pytest.mark.parametrize("kind", [Training, Dropping])
def test_a_program_in_training_is_refused(tmp_path: Path, kind: type[Small]) -> None:
    with pytest.raises(ConfigError, match="another result in every call: it was exported in train"):
        load_model(program(tmp_path / "a.pt2", kind, free={}))


def test_a_network_of_numbered_layers(tmp_path: Path) -> None:
    """Whose weights are named by numbers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Upsample(scale_factor=2), nn.MaxPool2d(2))
    with torch.no_grad():
        torch.export.save(torch.export.export(net.eval(), (X,)), tmp_path / "a.pt2")
        expected = net(X)
    assert torch.equal(load_model(beside(tmp_path / "a.pt2", **CARD))(X), expected)


def test_axes_of_one_extent_are_squares_only(tmp_path: Path) -> None:
    square = torch.zeros(2, 2, 32, 32)
    side = 2 * Dim("side", min=2, max=500)
    with torch.no_grad():
        made = torch.export.export(
            Small().eval(), (square,), dynamic_shapes={"x": {2: side, 3: side}}
        )
    torch.export.save(made, tmp_path / "a.pt2")
    card = find_card(beside(tmp_path / "a.pt2", **CARD))
    assert (card.window, card.any_size) == ((32, 32), False)


@each
def test_a_card_is_suggested(tmp_path: Path, suffix: str) -> None:
    file = MAKERS[suffix](tmp_path / f"a{suffix}")
    file.with_suffix(".yaml").unlink()
    told = r"a\.yaml with \{.*classes: \[class 0, class 1[,\]]"
    with pytest.raises(ConfigError, match=told) as caught:
        find_card(file)
    if suffix != ".pt2":
        assert "dims: 2, channels: [channel 1, channel 2], window: [512, 512]" in str(caught.value)


# --------------------------------------------------------------------- what must not run


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write an archive again with other entries."""
    with zipfile.ZipFile(path) as archive:
        entries = {n.partition("/")[2]: archive.read(n) for n in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"a/{name}", content)
    return path


def payload(mark: Path) -> bytes:
    """Return what makes a folder when it is unpickled, as torch.save would write it."""

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.mkdir, (mark,)

    buffer = io.BytesIO()
    torch.save({"a": Bomb()}, buffer)
    return buffer.getvalue()


MODEL = "models/model.json"


def edit(entries: dict[str, bytes], name: str, change: Callable[[Any], Any]) -> None:
    values = json.loads(entries[name])
    change(values)
    entries[name] = json.dumps(values).encode()


def _operator(entries: dict[str, bytes], code: str, name: str) -> None:
    edit(entries, MODEL, lambda v: v["graph_module"]["graph"]["nodes"][0].update(target=name))


def _expression(entries: dict[str, bytes], code: str) -> None:
    def change(values: Any) -> None:
        sizes = values["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[2]["as_expr"]["expr_str"] = code

    edit(entries, MODEL, change)


def _renamed(entries: dict[str, bytes], code: str) -> None:
    text = entries[MODEL].decode().replace('"name": "x"', json.dumps({"name": code})[1:-1])
    entries[MODEL] = text.replace('"x": {', f"{json.dumps(code)}: {{").encode()


def _constant(entries: dict[str, bytes], mark: bytes, prefix: str) -> None:
    config = "data/constants/model_constants_config.json"

    def change(values: Any) -> None:
        (entry,) = values["config"].values()
        entry.update(path_name=f"{prefix}_0", use_pickle=True)

    edit(entries, config, change)
    entries[f"data/constants/{prefix}_0"] = mark


def _weight(entries: dict[str, bytes], mark: bytes) -> None:
    config = "data/weights/model_weights_config.json"
    edit(entries, config, lambda v: v["config"]["up.bias"].update(use_pickle=True))
    file = json.loads(entries[config])["config"]["up.bias"]["path_name"]
    entries[f"data/weights/{file}"] = mark


ATTACKS: dict[str, Callable[[dict[str, bytes], str, bytes], None]] = {
    "a pickled constant": lambda e, code, mark: _constant(e, mark, "tensor"),
    "a pickled object": lambda e, code, mark: _constant(e, mark, "opaque_obj"),
    "a class of torch": lambda e, code, mark: _constant(e, mark, "custom_obj"),
    "pickled weights": lambda e, code, mark: _weight(e, mark),
    "an extent that is code": lambda e, code, mark: _expression(e, code),
    "an operator that is none": lambda e, code, mark: _operator(e, code, "torch.os.mkdir"),
    "an operator that reads files": lambda e, code, mark: _operator(
        e, code, "torch.ops.aten.from_file.default"
    ),
    "a name that is code": lambda e, code, mark: _renamed(e, f"x=({code})"),
    "a container that is a class": lambda e, code, mark: edit(
        e,
        MODEL,
        lambda v: v["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec='[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
        ),
    ),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_program_that_would_run_code_is_refused(
    tmp_path: Path, attack: Callable[[dict[str, bytes], str, bytes], None]
) -> None:
    mark = tmp_path / "it-ran"
    code = f"__import__('os').mkdir('{mark}')"
    file = rewritten(
        program(tmp_path / "a.pt2"), lambda entries: attack(entries, code, payload(mark))
    )
    with pytest.raises((ConfigError, DamagedInput), match=r"a\.pt2") as caught:
        load_model(file)(X)
    assert not mark.exists()
    assert "\n" not in str(caught.value)


def test_what_a_network_does_not_need_is_not_looked_at(tmp_path: Path) -> None:
    """Sample inputs, guards and notes on where the graph came from may hold anything."""
    mark = tmp_path / "it-ran"
    code = f"__import__('os').mkdir('{mark}')"

    def change(entries: dict[str, bytes]) -> None:
        entries["data/sample_inputs/model.pt"] = payload(mark)
        entries["data/aotinductor/model/a.so"] = b"\x7fELF"
        edit(entries, MODEL, lambda v: v.update(guards_code=[code]))

    model = load_model(rewritten(program(tmp_path / "a.pt2"), change))
    assert torch.equal(model(X), expected())
    assert not mark.exists()
    with suppress(Exception):
        torch.export.load(tmp_path / "a.pt2")  # which does look at them
    assert mark.exists()


@pytest.mark.parametrize(("kind", "word"), [(Writes, "save"), (Reads, "from_file")])
def test_torchscript_that_touches_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Small], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = script(tmp_path / "a.ts", kind)
    with pytest.raises(ConfigError, match=f"'{word}', which reads or writes files"):
        load_model(file)(X)
    assert not (tmp_path / "written").exists()
    if kind is Writes:  # and torch itself lets it
        with pytest.warns(DeprecationWarning, match=r"torch\.jit\.load"):
            torch.jit.load(file)(X)
        assert (tmp_path / "written").exists()


def test_torchscript_of_another_library_is_refused(tmp_path: Path) -> None:
    def change(entries: dict[str, bytes]) -> None:
        (name,) = [
            n for n in entries if n.endswith("test_torch_graphs.py") or n == "code/__torch__.py"
        ][:1]
        entries[name] = entries[name].replace(b"torch.relu", b"ops.c10d.send")

    with pytest.raises(ConfigError, match=r"operations of another library \(c10d\)"):
        load_model(rewritten(script(tmp_path / "a.ts"), change))


@each
@pytest.mark.parametrize("harm", ["cut", "emptied", "text", "entry", "bomb", "path", "twice"])
def test_damaged_archives(tmp_path: Path, suffix: str, harm: str) -> None:
    file = MAKERS[suffix](tmp_path / f"a{suffix}")
    whole = file.read_bytes()
    if harm in ("cut", "emptied", "text"):
        file.write_bytes({"cut": whole[:-200], "emptied": b"", "text": b"PK no archive"}[harm])
    elif harm == "entry":
        rewritten(
            file, lambda e: e.pop("data.pkl" if suffix != ".pt2" else "data/weights/weight_0")
        )
    else:
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            root = archive.namelist()[0].partition("/")[0]
            if harm == "bomb":
                archive.writestr(f"{root}/data/99", bytes(80_000_000))
            elif harm == "path":
                archive.writestr(f"{root}/../../escaped", b"x")
            else:
                with pytest.warns(UserWarning, match="Duplicate name"):
                    archive.writestr(archive.namelist()[0], b"x")
    with pytest.raises((ConfigError, DamagedInput), match=rf"a\{suffix}|a\.yaml") as caught:
        load_model(file)(X)
    assert "\n" not in str(caught.value)
    assert not (tmp_path.parent / "escaped").exists()


def test_a_program_from_before_torch_28(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("version", "8.1")
    with pytest.raises(ConfigError, match=r"since torch 2\.8: save it again"):
        find_card(beside(tmp_path / "a.pt2", **CARD))
