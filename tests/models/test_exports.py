"""Exported graphs: kept by the content of what they come from; what cannot run is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tiledseg.errors import ConfigError, OutputFailed
from tiledseg.models import Runtime, load_model
from tiledseg.models._exported import recent

MakeModel = Callable[..., Path]

EXPORTED = [Runtime("onnxruntime"), Runtime("openvino")]
both = pytest.mark.parametrize("way", EXPORTED, ids=str)
X = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def backends() -> None:
    for package in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of this test's own."""
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(cache: Path) -> list[Path]:
    """Return every file in the cache."""
    return sorted(path for path in cache.rglob("*") if path.is_file())


def other_weights(model: Path, folder: Path) -> Path:
    """Write a model that differs in one number, and return its folder."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    shutil.copytree(model, folder)
    with safe_open(folder / "weights.safetensors", "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
        said = file.metadata()
    name = next(key for key, tensor in state.items() if tensor.ndim == 4)
    state[name][0, 0, 0, 0] += 1
    save_file(state, folder / "weights.safetensors", said)
    return folder


# --------------------------------------------------------------------- the cache


@both
def test_the_graph_is_kept_in_the_cache_folder(
    fresh: Path, make_model: MakeModel, way: Runtime
) -> None:
    load_model(make_model(), runtime=way)(X)
    (file,) = kept(fresh)
    assert file.suffix == ".onnx"
    assert {path.suffix for path in kept(make_model())} == {".yaml", ".safetensors"}


def test_without_a_named_cache_it_is_the_users(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TILEDSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_model(make_model(), runtime=Runtime("onnxruntime"))(X)
    assert len(kept(tmp_path / "tiledseg" / "onnx")) == 1


@both
def test_a_second_load_exports_nothing(fresh: Path, make_model: MakeModel, way: Runtime) -> None:
    first = load_model(make_model(), runtime=way)(X).clone()
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in kept(fresh)]
    second = load_model(make_model(), runtime=way)(X)
    assert [(p, p.stat().st_mtime_ns, p.stat().st_ino) for p in kept(fresh)] == before
    assert torch.equal(first, second)


def test_both_libraries_share_one_graph(fresh: Path, make_model: MakeModel) -> None:
    for way in (*EXPORTED, Runtime("openvino", "bf16")):
        load_model(make_model(), runtime=way)(X)
    assert len(kept(fresh)) == 1


def test_windows_per_call_need_no_graph_of_their_own(fresh: Path, make_model: MakeModel) -> None:
    model = load_model(make_model(), runtime=Runtime("onnxruntime"))
    for n in (1, 2, 3):
        model(X.expand(n, *X.shape[1:]))
    assert len(kept(fresh)) == 1


@both
def test_every_window_shape_has_its_graph(fresh: Path, make_model: MakeModel, way: Runtime) -> None:
    model = load_model(make_model(), runtime=way)
    model(X)
    model(X[..., :16])
    assert len(kept(fresh)) == 2


@both
def test_other_weights_are_another_graph(
    fresh: Path, tmp_path: Path, make_model: MakeModel, way: Runtime
) -> None:
    first = load_model(make_model(), runtime=way)(X).clone()
    changed = other_weights(make_model(), tmp_path / "other")
    second = load_model(changed, runtime=way)(X)
    assert len(kept(fresh)) == 2
    torch.testing.assert_close(second, load_model(changed)(X), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first, second, atol=1e-2)


@both
@pytest.mark.parametrize("harm", ["emptied", "cut", "one bit"])
def test_a_damaged_graph_is_made_anew(
    fresh: Path, make_model: MakeModel, way: Runtime, harm: str
) -> None:
    """Most flipped bits load without a complaint and give another map."""
    expected = load_model(make_model(), runtime=way)(X).clone()
    (file,) = kept(fresh)
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 0x40
    file.write_bytes({"emptied": b"", "cut": whole[:-100], "one bit": whole}[harm])
    assert torch.equal(load_model(make_model(), runtime=way)(X), expected)
    assert len(kept(fresh)) == 1


@both
def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, way: Runtime
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "file"))
    model = load_model(make_model(), runtime=way)
    with pytest.raises(OutputFailed, match=r"file/onnx cannot be written .* TILEDSEG_CACHE .*"):
        model(X)


def test_compiling_needs_a_cache_too(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with pytest.raises(OutputFailed, match=r"file/inductor cannot be written .* TILEDSEG_CACHE .*"):
        load_model(make_model(), runtime=Runtime("compiled"))


@both
def test_a_folder_in_the_place_of_a_graph_is_told(
    fresh: Path, make_model: MakeModel, way: Runtime
) -> None:
    load_model(make_model(), runtime=way)(X)
    (file,) = kept(fresh)
    file.unlink()
    file.mkdir()
    with pytest.raises(OutputFailed, match=rf"{file.name} cannot be written \(Is a directory\)"):
        load_model(make_model(), runtime=way)(X)


def test_the_reference_needs_no_cache(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "file"))
    assert load_model(make_model())(X).shape == (1, 4, 32, 32)


def test_a_failed_export_leaves_nothing_behind(fresh: Path, make_model: MakeModel) -> None:
    """Three levels need multiples of four; torch says so while it traces."""
    levels = {"name": "unet", "channels": [4, 6, 8], "strides": [2, 2]}
    model = load_model(make_model(architecture=levels), runtime=Runtime("onnxruntime"))
    with pytest.raises(ConfigError, match=r"'small' cannot be exported .*: use --runtime torch"):
        model(X[..., :30])
    assert kept(fresh) == []


# --------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("asked", "device"),
    [
        (Runtime("torch", "fp16"), "cpu"),
        (Runtime("compiled", "fp16"), "cpu"),
        (Runtime("onnxruntime", "bf16"), "cpu"),
        (Runtime("openvino", "fp16"), "cpu"),
        (Runtime("tensorrt"), "cpu"),
        (Runtime("openvino"), "cuda"),
    ],
    ids=str,
)
def test_what_cannot_run_a_network_is_refused(
    make_model: MakeModel, asked: Runtime, device: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model(make_model(), device, runtime=asked)
    assert f"runtime {asked} cannot run model 'small'" in str(caught.value)
    assert f"on {device}: choose one of torch fp32, torch bf16, " in str(caught.value)


def test_an_onnx_file_is_not_run_by_torch(make_onnx: Callable[..., Path]) -> None:
    told = "torch fp32 cannot run model .* choose one of onnxruntime fp32, openvino fp32"
    with pytest.raises(ConfigError, match=told):
        load_model(make_onnx(), runtime=Runtime("torch"))


WITHOUT = """
import sys
from importlib.machinery import PathFinder
gone, model, *asked = sys.argv[1:]
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in gone.split("+"):
            return None
        return super().find_spec(name, path, target)
sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
import torch
from tiledseg.errors import TiledsegError
from tiledseg.models import Runtime, find_card, load_model, runtimes
print(*sorted({r.name for r in runtimes(find_card(model), "cpu")}))
for name in asked:
    try:
        load_model(model, runtime=Runtime(name))(torch.zeros(1, 3, 32, 32))
    except TiledsegError as error:
        print(type(error).__name__, error)
"""


def without(gone: str, model: Path, *asked: str) -> list[str]:
    """Run in a process in which Python does not find some packages; return the lines it prints."""
    command = [sys.executable, "-c", WITHOUT, gone, str(model), *asked]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=100
    ).stdout.splitlines()


def test_a_missing_library_is_named_with_what_installs_it(make_model: MakeModel) -> None:
    listed, *told = without("onnxruntime+openvino", make_model(), "onnxruntime", "openvino")
    assert listed == "compiled torch"
    assert told == [
        f"MissingBackend --runtime {name} needs the package '{name}', which is not installed: "
        f"pip install 'tiledseg[{extra}]'"
        for name, extra in (("onnxruntime", "onnx"), ("openvino", "openvino"))
    ]


def test_the_exporters_package_is_needed_too(fresh: Path, make_model: MakeModel) -> None:
    listed, told = without("onnx", make_model(), "openvino")
    assert listed == "compiled torch"
    assert told == (
        "MissingBackend the export to ONNX needs the package 'onnx', which is not installed: "
        "pip install 'tiledseg[onnx]'"
    )


# --------------------------------------------------------------------- threads


@pytest.mark.parametrize("way", [*EXPORTED, Runtime("openvino", "bf16")], ids=str)
def test_one_thread_takes_no_more_than_one_core(make_model: MakeModel, way: Runtime) -> None:
    """With all cores, which both libraries take by themselves, it would be nearly two here."""
    model = load_model(make_model(), threads=1, runtime=way)
    assert model.threads == 1
    x = torch.zeros(2, 3, 512, 512)
    model(x)
    used, began = time.process_time(), time.perf_counter()
    for _ in range(15):
        model(x)
    assert time.process_time() - used < 1.2 * (time.perf_counter() - began)


def test_only_the_latest_graphs_are_kept() -> None:
    """Many small images, each of another extent, do not fill the memory."""
    kept: dict[int, str] = {}
    made: list[int] = []

    def ask(key: int) -> str:
        return recent(kept, key, lambda: made.append(key) or str(key))

    assert [ask(key) for key in (1, 2, 3, 4, 1, 5, 1, 2)] == list("12341512")
    assert made == [1, 2, 3, 4, 5, 2]
    assert len(kept) == 4
