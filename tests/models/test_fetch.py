"""What is elsewhere is fetched when asked, whole and as its sha256 says, or not at all."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiledseg
from tiledseg.cli import run
from tiledseg.errors import ConfigError, DamagedInput, OutputFailed
from tiledseg.models import find_card, load_model
from tiledseg.models._fetch import _address, fetch

MakeModel = Callable[..., Path]


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; ``/to/X`` redirects to X, ``/cut/X`` ends in the middle."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path.startswith("/cut/"):
            self.path = self.path.removeprefix("/cut")
            whole = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole[: len(whole) // 2])
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server:
    """A folder on the web, and what was asked for."""

    def __init__(self, folder: Path, port: int, asked: list[str]) -> None:
        self.folder, self.asked = folder, asked
        self.address = f"http://127.0.0.1:{port}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked: list[str] = []
    handler = partial(type("_", (Handler,), {"asked": asked}), directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield Server(folder, serving.server_address[1], asked)
        serving.shutdown()
        thread.join()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def zipped(folder: Path, path: Path, top: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"{top}/{file.name}")
    return path


def test_a_model_is_fetched_once_and_checked(
    server: Server, make_model: MakeModel, tmp_path: Path
) -> None:
    archive = zipped(make_model(), server.folder / "small model.zip", "a/b")
    url = f"{server.address}/to//small%20model.zip"
    command = ["import", url, "--out", str(tmp_path / "m"), "--sha256", sha256(archive).upper()]
    assert run(command) == 0
    assert server.asked == ["/to//small%20model.zip", "/small%20model.zip"]
    assert run(command) == 0
    assert len(server.asked) == 2, "the cache has it"
    x = torch.zeros(1, 3, 64, 64)
    assert torch.equal(load_model(tmp_path / "m")(x), load_model(make_model())(x))
    assert f"fetched from {url}" in find_card(tmp_path / "m").provenance


def test_the_model_of_an_item_is_fetched_when_asked(
    server: Server, make_onnx: Callable[..., Path], tmp_path: Path
) -> None:
    file = make_onnx()
    (server.folder / "cover.onnx").write_bytes(file.read_bytes())
    item = tmp_path / "item.json"
    order = ["batch", "channel", "height", "width"]
    shape = {"shape": [-1, 2, -1, -1], "dim_order": order}
    classes = [{"value": i, "name": name} for i, name in enumerate(("land", "water", "cloud"))]
    properties = {
        "mlm:name": "cover",
        "mlm:input": [{"bands": ["red", "nir"], "input": shape}],
        "mlm:output": [
            {"result": {**shape, "shape": [-1, 3, -1, -1]}, "classification:classes": classes}
        ],
    }
    href = f"{server.address}/cover.onnx"
    assets = {"model": {"href": href, "roles": ["mlm:model"]}}
    told = {"type": "Feature", "id": "1", "properties": properties, "assets": assets}
    item.write_text(json.dumps(told))
    for use in (find_card, lambda path: tiledseg.import_model(path, tmp_path / "m")):
        with pytest.raises(ConfigError, match="is fetched only when asked: tiledseg import"):
            use(item)
    assert not server.asked
    tiledseg.import_model(item, tmp_path / "m", sha256=sha256(file))
    assert find_card(tmp_path / "m").name == "cover"
    assert server.asked == ["/cover.onnx"]
    assert find_card(item).name == "cover", "what was fetched serves the item too"


def test_what_is_not_asked_for_is_not_fetched(server: Server, tmp_path: Path) -> None:
    url = f"{server.address}/model.zip"
    for use in (load_model, find_card, str(tmp_path)):
        with pytest.raises(ConfigError, match="only when asked"):
            use(url) if callable(use) else tiledseg.load_model(url)
    for sha in (None, "abc"):
        with pytest.raises(ConfigError, match="give the sha256 of the file with --sha256"):
            tiledseg.import_model(url, tmp_path / "m", sha256=sha)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ConfigError, match="points to no URL"):
        tiledseg.import_model(tmp_path / "a.txt", tmp_path / "m", sha256="0" * 64)
    assert not server.asked


@pytest.mark.parametrize("path", ["/a.bin", "/cut/a.bin"])
def test_another_file_is_refused_and_not_kept(server: Server, tmp_path: Path, path: str) -> None:
    (server.folder / "a.bin").write_bytes(b"x" * 5_000_000)
    right = sha256(server.folder / "a.bin")
    wanted = right if "cut" in path else "0" * 64
    with pytest.raises((DamagedInput, ConfigError), match=r"is refused|cannot be fetched"):
        fetch(server.address + path, wanted)
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert fetch(f"{server.address}/a.bin", right).read_bytes() == b"x" * 5_000_000


@pytest.mark.parametrize(
    "source", ["/none.pt", "/to/file:///etc/passwd", "/to/ftp://127.0.0.1/a", "/to//to//to/"]
)
def test_what_the_server_does_not_give(server: Server, source: str) -> None:
    with pytest.raises(ConfigError, match="cannot be fetched") as caught:
        fetch(server.address + source, "0" * 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("http://.../x", f"http://{'x' * 300}/x", "http://127.0.0.1:1/\xe9", "http://\udcff/x"),
        *("https://", "http://[::1", "hf://a", "hf:/a/b/c", f"http://127.0.0.1:1/{'y' * 5000}"),
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be fetched|is no URL|not of the form") as caught:
        fetch(url, "0" * 64)
    assert len(str(caught.value)) < 700


def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server.folder / "a.bin").write_bytes(b"x")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputFailed, match="cannot be kept in the cache"):
        fetch(f"{server.address}/a.bin", sha256(server.folder / "a.bin"))


def test_names_on_the_hub_are_addresses() -> None:
    """The form is that of huggingface_hub's file system."""
    hub = "https://huggingface.co"
    assert _address("hf://a/b-c/m.safetensors") == f"{hub}/a/b-c/resolve/main/m.safetensors"
    found = _address("hf://a/b@refs/pr/1/sub/m.onnx")
    assert found == f"{hub}/a/b/resolve/refs%2Fpr%2F1/sub/m.onnx"
    assert _address("hf://a/b@v1.0/m.onnx") == f"{hub}/a/b/resolve/v1.0/m.onnx"
    assert _address("hf://a/b@x%2Fy/m.onnx") == f"{hub}/a/b/resolve/x%2Fy/m.onnx"
    for wrong in ("hf://a/b", "hf://a", "hf://a/b@", "hf://../b/c@d@e"):
        with pytest.raises(ConfigError, match="is not of the form hf://"):
            _address(wrong)


def test_an_archive_may_hold_any_kind(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model()
    weights, card = tmp_path / "w.safetensors", yaml.safe_load((model / "model.yaml").read_text())
    weights.write_bytes((model / "weights.safetensors").read_bytes())
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.write(weights, "deep/in/w.safetensors")
    made = tiledseg.import_model(tmp_path / "w.zip", tmp_path / "m", licence="MIT")
    assert made.kind == "model of tiledseg, deep/in/w.safetensors in a zip archive"
    assert (made.card.licence, list(made.card.channels)) == ("MIT", card["channels"])
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("read.me", "nothing")
    with pytest.raises(ConfigError, match="holds no kind of foreign model"):
        tiledseg.import_model(tmp_path / "none.zip", tmp_path / "n")
