"""``tiledseg probe``: what it prints, keeps and changes; and refusals of the new options."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiledseg.cli import run
from tiledseg.errors import MissingBackend
from tiledseg.models import Model, Probe, Reach, find_card, runtimes
from tiledseg.pipeline import _probe as probing

MakeModel = Callable[..., Path]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Return a 3-channel image of a few windows."""
    values = np.random.default_rng(0).integers(0, 255, (20, 22, 3), np.uint8)
    Image.fromarray(values.repeat(8, 0).repeat(8, 1)).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@pytest.fixture
def model(tmp_path: Path, make_model: MakeModel) -> Path:
    """Return a model of this test's own, whose card leaves open how far it looks."""
    return Path(shutil.copytree(make_model(locality="unknown"), tmp_path / "model"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what has to be compiled, which takes a minute."""
    monkeypatch.setattr(
        probing,
        "runtimes",
        lambda card, device: tuple(r for r in runtimes(card, device) if r.name != "compiled"),
    )


@pytest.mark.usefixtures("quick")
def test_the_table_is_printed_and_kept_beside_the_model(
    scene: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", str(model), "--sample", str(scene)]) == 0
    told = capsys.readouterr()
    for words in ("multiple", "locality", "local: radius", "batch invariant", "recommended"):
        assert words in told.out
    assert "measuring torch fp32 ..." in told.err
    kept = model / "model.probe.json"
    assert str(kept) in told.out
    found = json.loads(kept.read_text())
    assert found["reach"]["multiple"] == 2
    tried = {(*t["runtime"], t["microbatch"]) for t in found["trials"]}
    assert {("torch", "fp32", n) for n in (1, 2, 4)} <= tried
    for trial in found["trials"]:
        assert f"{trial['seconds']:.4f}" in told.out
        assert 0 <= trial["agreement"] <= 1
        assert trial["seconds"] > 0
    first = found["trials"][0]
    assert (first["runtime"], first["agreement"]) == (["torch", "fp32"], 1.0)


@pytest.mark.usefixtures("quick")
def test_a_runtime_that_cannot_be_loaded_is_a_failed_trial(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package is found but cannot be imported."""
    pytest.importorskip("openvino")
    healthy = probing.load_model

    def load(path: Path, device: str, threads: int, runtime: Any = None, **more: Any) -> Model:
        if runtime is not None and runtime.name == "openvino":
            raise MissingBackend("openvino", "openvino", "--runtime openvino")
        return healthy(path, device, threads, runtime, **more)

    monkeypatch.setattr(probing, "load_model", load)
    assert run(["probe", str(model), "-q"]) == 0
    found = json.loads((model / "model.probe.json").read_text(), parse_constant=pytest.fail)
    failed = [t for t in found["trials"] if t["runtime"][0] == "openvino"]
    assert [t["seconds"] for t in failed] == [None] * 6
    assert all("openvino needs the package" in t["problem"] for t in failed)
    assert all(t["seconds"] > 0 for t in found["trials"] if t not in failed)


@pytest.mark.usefixtures("quick")
def test_layers_that_make_a_model_global_are_told_and_kept(
    make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    architecture = {"name": "unet", "channels": [6, 8], "strides": [2], "norm": "instance"}
    made = make_model(locality="unknown", architecture=architecture)
    model = Path(shutil.copytree(made, tmp_path / "global"))
    assert run(["probe", str(model), "-q"]) == 0
    told = capsys.readouterr().out
    found = json.loads((model / "model.probe.json").read_text())
    names = [name for name, kind in found["reach"]["global_layers"] if kind == "InstanceNorm2d"]
    assert f"made global by   {len(names)} InstanceNorm2d: {names[0]}" in told
    assert Probe.from_dict(found).reach.global_layers[0] == (names[0], "InstanceNorm2d")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, once it compiles
def test_every_runtime_is_tried(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["probe", str(model), "-q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    card = find_card(model)
    tried = {tuple(t["runtime"]) for t in found["trials"]}
    assert tried == {tuple(r) for r in runtimes(card, "cpu")}
    assert not any(t["problem"] for t in found["trials"])


@pytest.mark.usefixtures("quick")
def test_plan_uses_what_was_found(
    scene: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["plan", str(scene), "-m", str(model), "--json"]
    assert run(ask) == 0
    before = json.loads(capsys.readouterr().out)
    (warning,) = before["warnings"]
    assert "may be global" in warning
    assert "unet is local unless told otherwise" in warning
    assert f"tiledseg probe {model}" in warning
    assert run(["probe", str(model), "-q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert run(ask) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["warnings"] == []
    assert after["window"] == found["best_window"]
    assert after["stride"] == found["best_stride"]
    assert after["margin"] == found["reach"]["radius"] > 0


@pytest.mark.usefixtures("quick")
def test_probing_again_finds_the_same_window(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second probe starts from the card, not from what the first recommended."""
    sizes = []
    for _ in range(2):
        assert run(["probe", str(model), "-q", "--json"]) == 0
        sizes.append(json.loads(capsys.readouterr().out)["window"])
    assert sizes[0] == sizes[1] == [64, 64]


@pytest.mark.usefixtures("quick")
def test_a_probe_of_other_weights_is_not_used(
    scene: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", str(model), "-q"]) == 0
    kept = model / "model.probe.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "sha256": "0" * 64}))
    capsys.readouterr()
    assert run(["plan", str(scene), "-m", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"]


def test_a_call_beyond_the_budget_is_refused_before_it_is_made(
    scene: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["-o", str(tmp_path / "map.tif"), "--set", "runtime.microbatch=10000000"]
    assert run(["segment", str(scene), "-m", str(model), *out]) == 4
    assert "10000000 windows a call hold" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "change",
    [
        {"reach": {"multiple": 0}},
        {"reach": {"radius": "x"}},
        {"reach": {"radius": -5}},
        {"reach": {"locality": "zzz"}},
        {"best_window": [0, 0]},
        {"best_window": None},
        {"best_window": "ab"},
        {"best_stride": [16.5, 16]},
    ],
    ids=str,
)
def test_a_probe_whose_numbers_make_no_sense_is_as_none(
    scene: Path, model: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    reach = Reach(2, "local", 5, 1e-3, (), True, 0.0)
    probe = Probe(
        *(find_card(model).sha256 or "", "m", "cpu", 1, {}, "noise", False, reach, (64, 64), ()),
        *((32, 32), (16, 16), 5),
    )
    values = probe.to_dict()
    kept = model / "model.probe.json"
    kept.write_text(json.dumps(values))
    ask = ["plan", str(scene), "-m", str(model), "--json"]
    assert run(ask) == 0
    assert json.loads(capsys.readouterr().out)["window"] == [32, 32]
    for key, value in change.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    kept.write_text(json.dumps(values))
    assert run(ask) == 0
    assert json.loads(capsys.readouterr().out)["window"] == [64, 64]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sha256": 3}', "\x00\xff"])
def test_a_damaged_probe_is_as_none(scene: Path, model: Path, content: str) -> None:
    (model / "model.probe.json").write_text(content)
    assert run(["plan", str(scene), "-m", str(model)]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe", "nowhere"], "there is no model at nowhere"),
        (["probe", "MODEL", "--sample", "nowhere.tif"], "nowhere.tif"),
        (["probe", "MODEL", "--device", "cuda:99"], "cuda:99"),
        (["probe", "MODEL", "--tolerance", "-1"], "tolerance"),
        (["probe", "MODEL", "--tolerance", "nan"], "tolerance"),
        (["probe", "MODEL", "--threads", "0"], "threads"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--runtime", "tensorrt"], "runtime"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--skip-below", "nan"], "finite"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--device", "mps"], "choose cpu, cuda"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--device-memory", "many"], "many"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--set", "model=[]"], "give one model"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--roi", ""], "roi"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--precision", "fp16"], "fp16"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--skip-below", "3"], "background"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--roi", "nowhere.gpkg"], "nowhere.gpkg"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--roi", "1,2,3"], "roi"),
        (["segment", "SCENE", "-m", "MODEL", "-o", "OUT", "--set", "combine.mirror=[7]"], "mirror"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_sentence(
    scene: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    places = {"MODEL": str(model), "SCENE": str(scene), "OUT": str(tmp_path / "map.tif")}
    assert run([places.get(a, a) for a in arguments]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert "Traceback" not in told.err
    assert not list(tmp_path.glob("map*"))
    assert not list(model.glob("*probe*"))


def test_views_of_the_input_are_averaged(
    scene: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for tta in ("mirror", "turns", "all"):
        out = tmp_path / f"{tta}.tif"
        assert (
            run(["segment", str(scene), "-m", str(model), "-o", str(out), "--tta", tta, "-q"]) == 0
        )
        assert out.stat().st_size > 0
    assert capsys.readouterr().err == ""
