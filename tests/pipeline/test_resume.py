"""Killed at random moments and run again: the same bytes, and nothing computed twice."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tiledseg
from tests.runs import noise, sha, small_disk, started, write_pixels
from tiledseg import cli
from tiledseg.engine import TileDone, WindowsDone

MakeModel = Callable[..., Path]


def write_scene(path: Path, shape: tuple[int, int], seed: int = 0) -> Path:
    """Write a three-band GeoTIFF of blocky noise with a nodata corner."""
    pixels = noise(shape, seed)
    pixels[:, :60, :70] = 0
    return write_pixels(path, pixels)


def command(scene: Path, model: Path, out: Path, *more: str) -> list[str]:
    """Return the arguments of a run with many small tiles."""
    return [
        *("segment", str(scene), "-m", str(model)),
        *("-o", str(out), "--set", "tiling.core=[128,128]", "--threads", "1", "--quiet", *more),
    ]


@pytest.mark.slow
def test_kills_and_the_same_bytes(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write_scene(tmp_path / "scene.tif", (700, 650))
    model = make_model()
    whole = tmp_path / "whole.tif"
    assert cli.run(command(scene, model, whole)) == 0
    out = tmp_path / "killed.tif"
    receipts = out.with_name("killed.tif.work") / "receipts"
    chance = random.Random(5)
    kills = 0
    done: list[int] = []
    while kills < 3:
        process = started(command(scene, model, out))
        # Kill within the run, not within the imports: once this run has finished a tile or two.
        goal = (done[-1] if done else 0) + chance.randrange(1, 4)
        while process.is_alive() and len(list(receipts.glob("*.json"))) < goal:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.05)
        assert process.is_alive(), "the run ended before it could be killed that often"
        process.kill()
        process.join()
        kills += 1
        done.append(len(list(receipts.glob("*.json"))))
        assert not out.exists()
    assert done == sorted(done)
    assert len(done) == 3
    assert cli.run(command(scene, model, out)) == 0
    assert sha(out) == sha(whole)
    assert not out.with_name("killed.tif.work").exists()


def test_finished_tiles_are_not_computed_again(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write_scene(tmp_path / "scene.tif", (300, 300))
    settings = {"tiling": {"core": (100, 100)}, "runtime": {"threads": 1}}
    out = tmp_path / "out.tif"
    events: list[object] = []

    def stop_after_four(event: object) -> None:
        events.append(event)
        if sum(isinstance(e, TileDone) for e in events) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment(scene, make_model(), out, on_event=stop_after_four, **settings)
    assert not out.exists()
    again: list[object] = []
    result = tiledseg.segment(scene, make_model(), out, on_event=again.append, **settings)
    assert result.ran.resumed == 4
    assert sum(isinstance(e, TileDone) for e in again) == 5
    windows = [e for e in [*events, *again] if isinstance(e, WindowsDone)]
    assert sum(e.windows for e in windows) == result.ran.planned
    assert result.ran.evaluated + result.ran.skipped == result.ran.planned


def interrupted(scene: Path, model: Path, out: Path, **settings: object) -> None:
    """Begin a run and stop it after its first tile."""

    def stop(event: object) -> None:
        if isinstance(event, TileDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment(scene, model, out, on_event=stop, **settings)


def test_changes_of_plan_model_and_input_are_refused(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write_scene(tmp_path / "scene.tif", (300, 300))
    out = tmp_path / "out.tif"
    base = {"tiling": {"core": (100, 100)}, "runtime": {"threads": 1}}
    interrupted(scene, make_model(), out, **base)
    with pytest.raises(tiledseg.PlanChanged, match=r"taper was gaussian, is hann.*--fresh"):
        tiledseg.segment(
            scene,
            make_model(),
            out,
            runtime=base["runtime"],
            tiling={**base["tiling"], "taper": "hann"},
        )
    with pytest.raises(tiledseg.PlanChanged, match="model was"):
        tiledseg.segment(scene, make_model(classes=5), out, **base)
    write_scene(tmp_path / "scene.tif", (300, 300), seed=1)
    with pytest.raises(tiledseg.PlanChanged, match="input was"):
        tiledseg.segment(scene, make_model(), out, **base)
    tiledseg.segment(scene, make_model(), out, fresh=True, **base)
    assert out.exists()


def test_resume_keeps_the_cores_under_another_budget(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write_scene(tmp_path / "scene.tif", (300, 1300))
    out = tmp_path / "out.tif"
    settings = {"runtime": {"threads": 1}, "tiling": {"core": (300, 256)}}
    interrupted(scene, make_model(), out, **settings)
    result = tiledseg.segment(
        scene, make_model(), out, runtime={"threads": 1}, budget={"memory": "20GB"}
    )
    assert result.ran.resumed == 1


@pytest.mark.parametrize("size", ["120k", "720k"])
def test_a_full_disk_loses_nothing(tmp_path: Path, make_model: MakeModel, size: str) -> None:
    scene = write_scene(tmp_path / "scene.tif", (1000, 1000))
    whole = tmp_path / "whole.tif"
    model = make_model()
    assert cli.run(command(scene, model, whole)) == 0
    with small_disk(tmp_path / "disk", size) as disk:
        out = disk / "out.tif"
        process = started(command(scene, model, out), tmp_path / "told")
        process.join()
        told = (tmp_path / "told").read_text()
        assert process.exitcode == 2, told
        assert str(disk) in told
        assert "Traceback" not in told
        # libtiff prints "_tiffSeekProc" by itself, past every handler GDAL offers
        lines = [line for line in told.splitlines() if not line.startswith("_tiff")]
        assert len(lines) == 1
        assert not out.exists()
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        assert cli.run(command(scene, model, out)) == 0
        assert sha(out) == sha(whole)


def test_the_config_as_run_gives_the_same_bytes(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write_scene(tmp_path / "scene.tif", (200, 170))
    out = tmp_path / "out.tif"
    tiledseg.segment(scene, make_model(), out)
    first = sha(out)
    config = tiledseg.RunConfig.read(tmp_path / "out.report" / "run.yaml")
    out.unlink()
    values = {name: getattr(config, name) for name in type(config).model_fields}
    tiledseg.segment(**values)
    assert sha(out) == first
    report = json.loads((tmp_path / "out.report" / "report.json").read_text())
    assert report["ran"]["windows_planned"] == 16


def test_two_runs_on_one_output(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write_scene(tmp_path / "scene.tif", (300, 300))
    out = tmp_path / "out.tif"

    def second(event: object) -> None:
        with pytest.raises(tiledseg.PlanChanged, match="another run is writing"):
            tiledseg.segment(scene, make_model(), out)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment(scene, make_model(), out, on_event=second)
    tiledseg.segment(scene, make_model(), out)


def test_the_image_is_never_overwritten(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write_scene(tmp_path / "scene.tif", (100, 100))
    before = sha(scene)
    with pytest.raises(tiledseg.ConfigError, match="would overwrite the input"):
        tiledseg.segment(scene, make_model(), scene)
    assert sha(scene) == before


def test_a_changed_architecture_is_refused(tmp_path: Path, make_model: MakeModel) -> None:
    """The same weights in a network with another activation are another model."""
    scene = write_scene(tmp_path / "scene.tif", (300, 300))
    out = tmp_path / "out.tif"
    base = {"tiling": {"core": (100, 100)}, "runtime": {"threads": 1}}
    model = tmp_path / "model"
    unet = {"name": "unet", "channels": [6, 8], "strides": [2], "norm": "batch", "act": "relu"}
    shutil.copytree(make_model(architecture=unet), model)
    interrupted(scene, model, out, **base)
    card = (model / "model.yaml").read_text()
    (model / "model.yaml").write_text(card.replace("act: relu", "act: tanh"))
    with pytest.raises(tiledseg.PlanChanged, match="architecture was"):
        tiledseg.segment(scene, model, out, **base)


class Two(torch.nn.Module):
    """A graph that gives two maps."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"dark": -x, "bright": x}


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_another_output_of_a_graph_is_refused(tmp_path: Path) -> None:
    """The same file, but its card names another of the maps that it gives."""
    scene = write_scene(tmp_path / "scene.tif", (300, 300))
    torch.jit.script(Two()).save(tmp_path / "two.pt")
    card = {"dims": 2, "channels": ["a", "b", "c"], "window": [64, 64], "output": "dark"}
    card["classes"] = [{"name": name} for name in "xyz"]
    (tmp_path / "two.yaml").write_text(json.dumps(card))
    base = {"tiling": {"core": (128, 128)}, "runtime": {"threads": 1}}
    interrupted(scene, tmp_path / "two.pt", tmp_path / "out.tif", **base)
    (tmp_path / "two.yaml").write_text(json.dumps({**card, "output": "bright"}))
    with pytest.raises(tiledseg.PlanChanged, match=r"output was .*dark.*, is .*bright"):
        tiledseg.segment(scene, tmp_path / "two.pt", tmp_path / "out.tif", **base)
