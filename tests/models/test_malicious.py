"""Files made to harm are refused in one sentence, and what they carry does not run."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

import tiledseg
from tiledseg.cli import run
from tiledseg.errors import ConfigError, DamagedInput, TiledsegError
from tiledseg.models import card_from_dict, create_network, find_card, load_model

#: A complete card, so that nothing else stops the file from being read.
SAID = {
    "dims": 2,
    "channels": ["red", "nir"],
    "classes": [{"name": "land"}, {"name": "water"}],
    "window": [64, 64],
    "multiple": 4,
    "architecture": {"name": "unet", "channels": [4, 8, 8], "strides": [2, 2]},
}


def old_tar(values: Any, path: Path) -> None:
    """Write what torch wrote before 0.1.10: a tar of pickles."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            body = pickle.dumps(values)
            header = tarfile.TarInfo(name)
            header.size = len(body)
            archive.addfile(header, io.BytesIO(body))


def text_pickle(values: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(values, protocol=0))


def plain_pickle(values: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(values, protocol=2))


def old_torch(values: Any, path: Path) -> None:
    torch.save(values, path, _use_new_zipfile_serialization=False)


HOW: dict[str, Callable[[Any, Path], None]] = {
    "torch": torch.save,
    "old torch": old_torch,
    "oldest torch": old_tar,
    "pickle": plain_pickle,
    "text pickle": text_pickle,
}
WHERE: dict[str, Callable[[Any], Any]] = {
    "alone": lambda bad: bad,
    "among weights": lambda bad: {"state_dict": {"w": torch.zeros(3), "x": bad}},
    "beside weights": lambda bad: {"state_dict": {"w": torch.zeros(3)}, "hyper_parameters": bad},
}


def refused(path: Path, sentinel: Path, told: str) -> None:
    """Check that a file is refused by all that might read it."""
    out = path.parent / "made"
    for use in (load_model, lambda p: tiledseg.import_model(p, out, **SAID), tiledseg.load_model):
        with pytest.raises(TiledsegError, match=told) as caught:
            use(path)
        assert "\n" not in str(caught.value)
        assert not sentinel.exists()
    assert run(["info", str(path)]) in (0, 2)
    assert run(["import", str(path), "--out", str(out)]) == 2
    assert not sentinel.exists()
    assert not (out / "model.yaml").exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("how", HOW)
def test_a_pickle_with_a_payload_does_not_run(
    tmp_path: Path, payload: Any, how: str, where: str, suffix: str
) -> None:
    path = tmp_path / f"w{suffix}"
    HOW[how](WHERE[where](payload), path)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(SAID))
    told = r"is refused: .* would have to be run|all pickles|can be read: |no kind of"
    refused(path, payload.sentinel, told)


@pytest.mark.parametrize("how", HOW)
def test_a_pickle_under_another_name_does_not_run(tmp_path: Path, payload: Any, how: str) -> None:
    for name in ("w.safetensors", "w.onnx", "w.yaml", "w.zip", "item.json"):
        HOW[how](payload, tmp_path / name)
        for use in (find_card, lambda path: tiledseg.import_model(path, tmp_path / "made", **SAID)):
            with pytest.raises(TiledsegError) as caught:
                use(tmp_path / name)
            assert "\n" not in str(caught.value)
        assert not payload.sentinel.exists()
    assert not list(tmp_path.glob("made/*"))


def test_the_card_beside_it_does_not_run(tmp_path: Path, payload: Any) -> None:
    torch.save({"w": torch.zeros(3)}, tmp_path / "w.pt")
    path = f"!!python/object/apply:pathlib.Path [{payload.sentinel}]"
    evil = f"name: !!python/object/apply:pathlib.Path.touch [{path}]"
    (tmp_path / "w.yaml").write_text(evil)
    refused(tmp_path / "w.pt", payload.sentinel, "could not determine a constructor")


def write_item(folder: Path, href: str) -> Path:
    """Write a STAC item whose model is at ``href``."""
    shape = {"shape": [1, 2, 64, 64], "dim_order": ["batch", "channel", "height", "width"]}
    classes = [{"value": i, "name": name} for i, name in enumerate(("land", "water"))]
    properties = {
        "mlm:name": "x",
        "mlm:input": [{"bands": ["red", "nir"], "input": shape}],
        "mlm:output": [{"result": shape, "classification:classes": classes}],
    }
    assets = {"m": {"href": href, "roles": ["mlm:model"]}}
    item = {"type": "Feature", "id": "1", "properties": properties, "assets": assets}
    (folder / "item.json").write_text(json.dumps(item))
    return folder / "item.json"


@pytest.mark.parametrize(
    "href",
    ["/etc/passwd", "../w.pt", ".", "", "w\0.pt", "w" * 9000, "file:///etc/passwd", "http://["],
)
def test_an_item_that_points_nowhere(
    tmp_path: Path, href: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "item"
    folder.mkdir()
    torch.save({"w": torch.zeros(3)}, tmp_path / "w.pt")
    item = write_item(folder, href)
    for words in (["info"], ["import", "--out", str(tmp_path / "made")]):
        assert run([*words, str(item)]) == 2
        assert re.search("no model that is known here|is no URL", capsys.readouterr().err)


def test_an_item_that_points_to_a_pickle(tmp_path: Path, payload: Any) -> None:
    torch.save({"state_dict": payload}, tmp_path / "w.pt")
    write_item(tmp_path, "w.pt")
    with pytest.raises(DamagedInput, match="is refused: to load it"):
        tiledseg.import_model(
            tmp_path / "item.json", tmp_path / "made", architecture=SAID["architecture"]
        )
    assert not payload.sentinel.exists()


# --------------------------------------------------------------------- archives


def member(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


TRAPS: dict[str, tuple[zipfile.ZipInfo, bytes, str]] = {
    "parent": (member("../owned"), b"owned", r"'\.\./owned' in it leads out"),
    "deep parent": (member("a/../../owned"), b"owned", "leads out"),
    "absolute": (member("/tmp/owned"), b"owned", "leads out"),
    "windows": (member("..\\owned"), b"owned", "leads out"),
    "drive": (member("C:\\owned"), b"owned", "leads out"),
    "link": (member("model.yaml", stat.S_IFLNK), b"/etc/passwd", "is a link"),
    "a file and a folder": (member("m"), b"", "'m' in it is a file and a folder"),
    "a name twice": (member("m/./model.yaml"), b"", "it holds 'm/./model.yaml' twice"),
    "a long name": (member("m" * 300), b"", "is too long for a name"),
    "a long path": (member("/".join(["m" * 200] * 9)), b"", "is too long for a name"),
    "many folders": (member("m/" * 99 + "a"), b"", "is too long for a name"),
    "bomb": (member("w.pt"), b"\0" * 20_000_000, r"would unpack \d+ bytes to 20000000"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_an_archive_is_not_unpacked(
    tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "cache"))
    info, body, told = TRAPS[trap]
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("m/model.yaml", yaml.safe_dump(SAID))
        archive.writestr(info, body)
    with pytest.raises(DamagedInput, match=f"m.zip is refused: .*{told}") as caught:
        tiledseg.import_model(tmp_path / "m.zip", tmp_path / "made")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("owned"))
    assert not list((tmp_path / "cache").rglob("*"))


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_damage_in_what_is_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: int
) -> None:
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "m.zip", "w", method) as archive:
        archive.writestr("model.yaml", yaml.safe_dump(SAID) * 50)
    whole = bytearray((tmp_path / "m.zip").read_bytes())
    whole[60:90] = b"damage" * 5
    (tmp_path / "m.zip").write_bytes(whole)
    with pytest.raises(DamagedInput, match=r"m\.zip cannot be unpacked: \w"):
        tiledseg.import_model(tmp_path / "m.zip", tmp_path / "made")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_an_archive_of_nothing(tmp_path: Path) -> None:
    zipfile.ZipFile(tmp_path / "m.zip", "w").close()
    with pytest.raises(DamagedInput, match="there is nothing in it"):
        tiledseg.import_model(tmp_path / "m.zip", tmp_path / "made")


def test_a_file_without_a_name_is_not_unpacked(tmp_path: Path) -> None:
    """As zipfile reads a name that begins with a zero byte."""
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("QQQ", b"")
    named = (tmp_path / "m.zip").read_bytes()
    (tmp_path / "m.zip").write_bytes(named.replace(b"QQQ", b"\0\0\0"))
    with pytest.raises(DamagedInput, match="a file in it has no name"):
        tiledseg.import_model(tmp_path / "m.zip", tmp_path / "made")


def test_many_small_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for i in range(34):
            archive.writestr(member(f"{i}"), bytes(15_000_000), compresslevel=1)
    with pytest.raises(DamagedInput, match=r"would unpack \d+ bytes to 510000000"):
        tiledseg.import_model(tmp_path / "m.zip", tmp_path / "made")
    assert not list((tmp_path / "cache").rglob("*"))


def test_a_damaged_archive_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("model.yaml", yaml.safe_dump(SAID) * 50)
    whole = bytearray((tmp_path / "m.zip").read_bytes())
    whole[200] ^= 1
    (tmp_path / "m.zip").write_bytes(whole)
    with pytest.raises(DamagedInput, match="cannot be unpacked: Bad CRC"):
        tiledseg.import_model(tmp_path / "m.zip", tmp_path / "made")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_a_payload_in_an_archive(tmp_path: Path, payload: Any) -> None:
    torch.save(payload, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.write(tmp_path / "w.pt", "deep/w.pt")
    with pytest.raises(DamagedInput, match="is refused: to load it"):
        tiledseg.import_model(tmp_path / "m.zip", tmp_path / "made", **SAID)
    assert not payload.sentinel.exists()


def test_a_safetensors_header_that_lies(tmp_path: Path) -> None:
    header = b'{"w": {"dtype": "F32", "shape": [9999999999], "data_offsets": [0, 39999999996]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises((DamagedInput, ConfigError), match="is not a safetensors file"):
        tiledseg.import_model(path, tmp_path / "made", **SAID)


# --------------------------------------------------------------------- what never ends


@pytest.mark.parametrize(
    "name", ["w.pt", "w.yaml", "w.json", "w.onnx", "w.safetensors", "w.zip", "w.xml", "w.tif", "w"]
)
def test_a_pipe_is_not_waited_for(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / name)
    for words in (["info"], ["import", "--out", str(tmp_path / "made")]):
        assert run([*words, str(tmp_path / name)]) == 2
        assert "is a pipe, a socket or a device" in capsys.readouterr().err


def test_weights_of_a_card_that_are_a_pipe(tmp_path: Path) -> None:
    card = {**SAID, "name": "x", "format": "tiledseg", "weights": "w.safetensors"}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(card))
    os.mkfifo(tmp_path / "w.safetensors")
    for use in (load_model, lambda path: tiledseg.import_model(path, tmp_path / "made")):
        with pytest.raises(DamagedInput, match=r"w\.safetensors is a pipe"):
            use(tmp_path)


def test_a_card_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.yaml").open("wb") as file:
        file.truncate(200 << 30)
    for use in (find_card, lambda path: tiledseg.import_model(path, tmp_path / "made")):
        with pytest.raises(ConfigError, match="it is larger than 8000000 bytes"):
            use(tmp_path)


def test_merges_that_multiply(tmp_path: Path) -> None:
    """Nine lines that would stand for 10 ** 9 keys."""
    first = "a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(10)) + "}"
    more = (f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9))
    (tmp_path / "model.yaml").write_text("\n".join([first, *more]))
    with pytest.raises(ConfigError, match="its merges stand for more than"):
        find_card(tmp_path)


def test_a_licence_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = {**SAID, "name": "x", "format": "tiledseg", "weights": "w"}
    card = card_from_dict(full, "x")
    evil = "MIT\x1b[2J\x1b]0;owned\x07\u202e\nwrote         /etc/passwd"
    torch.save(create_network(card).state_dict(), tmp_path / "w.pt")
    said = {**SAID, "licence": evil, "name": evil}
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(said))
    assert run(["import", str(tmp_path / "w.pt"), "--out", str(tmp_path / "made")]) == 0
    assert run(["info", str(tmp_path / "made")]) == 0
    (tmp_path / "made" / "weights.safetensors").unlink()
    assert run(["probe", str(tmp_path / "made")]) == 2
    told = "".join(capsys.readouterr())
    assert "MIT\\x1b[2J" in told
    assert not set("\x1b\x07\u202e") & set(told)
    assert "\nwrote         /etc" not in told


def test_weights_that_unpack_to_far_more(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(4)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            data = entry.filename.endswith("data/0")
            bomb.writestr(entry.filename, bytes(100_000_000) if data else plain.read(entry))
    with pytest.raises(DamagedInput, match=r"would unpack \d+ bytes to 100\d+"):
        tiledseg.import_model(tmp_path / "w.pt", tmp_path / "made", **SAID)


# --------------------------------------------------------------------- cards of tiledseg's own


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weights": "${HOME}/w.safetensors"}, "what is imported has its weights beside"),
        ({"folds": ["$HOME/w.safetensors"]}, "what is imported has its weights beside"),
        ({"weights": "."}, "are not there"),
        ({"weights": "other.safetensors"}, "are not there"),
        ({"weights": "w\0"}, "are not there"),
        ({"weights": "w" * 5000}, "are not there"),
        ({"folds": ["fold_1.safetensors"]}, "weights 'fold_1.safetensors' are not there"),
        ({"folds": ["../w.safetensors"]}, "must lie beside the card"),
        ({"sha256": "0" * 64}, "they are damaged or another version"),
        ({"spacing": [float("inf"), 1.0]}, "expected 2 positive numbers"),
    ],
)
def test_a_card_whose_weights_are_elsewhere_or_others(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    full = {**SAID, "name": "x", "format": "tiledseg", "weights": "w.safetensors"}
    network = create_network(card_from_dict(full, "x"))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({**full, **changes}))
    with pytest.raises(TiledsegError, match=re.escape(told)) as caught:
        tiledseg.import_model(tmp_path, tmp_path / "made")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made" / "model.yaml").exists()
