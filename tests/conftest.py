"""What every test may ask for."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Workers of pytest share the cores: a thread that waits for others gives its core away at once.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, in place of the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILEDSEG_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with real images, volumes and weights; skips where it is absent."""
    named = os.environ.get("TILEDSEG_DATA", "")
    if not named or not Path(named).is_dir():
        pytest.skip("TILEDSEG_DATA does not name the data folder")
    return Path(named)


class Payload:
    """Unpickling this writes the file ``sentinel``."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return self.sentinel.write_text, ("owned",)


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    """What a harmful file carries; that it writes ``payload.sentinel`` is tried out first."""
    made = Payload(tmp_path / "owned")
    pickle.loads(pickle.dumps(made))
    assert made.sentinel.read_text() == "owned"
    made.sentinel.unlink()
    return made


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A bucket (``s3://work``) on an S3 server of the tests' own; child processes reach it too."""
    for package in ("moto", "flask", "obstore"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    with s3_server("work") as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ALLOW_HTTP", "true")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield "s3://work"


@contextmanager
def s3_server(bucket: str) -> Iterator[str]:
    """Run moto's S3 server in a process of its own, with one bucket; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=silent, stderr=silent) as process:
        try:
            request = urllib.request.Request(f"{address}/{bucket}", data=b"", method="PUT")
            for _ in range(600):
                try:
                    urllib.request.urlopen(request).close()
                    break
                except OSError:
                    assert process.poll() is None, "the S3 server has ended"
                    time.sleep(0.1)
            yield address
        finally:
            process.kill()


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes a small U-Net with random weights and returns its folder."""
    made: dict[str, Path] = {}

    def make(dims: int = 2, channels: int = 3, classes: int = 4, **changes: Any) -> Path:
        key = repr((dims, channels, classes, sorted(changes.items())))
        if key not in made:
            made[key] = _write_model(
                tmp_path_factory.mktemp("model"), dims, channels, classes, changes
            )
        return made[key]

    return make


def _write_model(
    folder: Path, dims: int, channels: int, classes: int, changes: dict[str, Any]
) -> Path:
    import torch

    from tiledseg.labels import ClassSchema
    from tiledseg.models import ModelCard, create_network, save_model
    from tiledseg.normalize import Linear, Normalization

    values: dict[str, Any] = {
        "name": "small",
        "format": "tiledseg",
        "weights": "weights.safetensors",
        "dims": dims,
        "channels": tuple(f"c{i}" for i in range(channels)),
        "schema": ClassSchema.of_names([f"class {i}" for i in range(classes)]),
        "window": (64,) * dims if dims == 2 else (24,) * dims,
        "architecture": {"name": "unet", "channels": [6, 8], "strides": [2], "norm": "batch"},
        "multiple": 2,
        "normalization": Normalization((Linear((0.01,), (-1.0,)),)),
        "locality": "local",
        **changes,
    }
    card = ModelCard(**values)
    torch.manual_seed(7)
    network = create_network(card)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    save_model(network, card, folder)
    return folder
