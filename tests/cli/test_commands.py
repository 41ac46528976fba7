"""The shell: what each command prints and returns."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyogrio
import pytest
from PIL import Image

import tiledseg
from tests.runs import strike
from tiledseg.cli import run

MakeModel = Callable[..., Path]
#: The command line with signals as in a terminal, whatever runs the tests.
PLAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
from tiledseg.cli import main
main()
"""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Return a 3-channel image without georeference."""
    path = tmp_path / "scene.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (150, 140, 3), np.uint8)).save(path)
    return path


def test_segment_prints_json(
    scene: Path, tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "map.tif"
    arguments = ["segment", str(scene), "-m", str(make_model()), "-o", str(out), "--json", "-q"]
    assert run(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outputs"][0] == str(out)
    assert sum(c["samples"] for c in told["classes"]) == 150 * 140
    for path in told["outputs"]:
        assert Path(path).exists()


def test_progress_and_summary(
    scene: Path, tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "map.tif"
    assert run(["segment", str(scene), "-m", str(make_model()), "-o", str(out)]) == 0
    captured = capsys.readouterr()
    assert "9/9 windows" in captured.err
    assert "peak memory" in captured.out
    assert f"wrote {out}" in captured.out


def test_quiet_is_quiet(
    scene: Path, tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "map.tif"
    assert run(["segment", str(scene), "-m", str(make_model()), "-o", str(out), "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_plan_info_vectorize_and_run(
    scene: Path, tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = make_model(), tmp_path / "map.tif"
    assert run(["plan", str(scene), "-m", str(model), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["windows"] == 9
    assert planned["tiles"] == 1
    config = tmp_path / "c.yaml"
    config.write_text(f"image: {scene}\nmodel: {model}\nout: {out}\n")
    assert run(["run", str(config), "--set", "tiling.taper=hann", "-q"]) == 0
    assert "taper: hann" in (tmp_path / "map.report" / "run.yaml").read_text()
    capsys.readouterr()
    kinds = {}
    for path in (scene, model, out, tmp_path / "map.report"):
        assert run(["info", str(path), "--json"]) == 0
        kinds[path.name] = json.loads(capsys.readouterr().out)["kind"]
    assert list(kinds.values()) == ["image", "model", "class map", "report"]
    vectors = tmp_path / "map.gpkg"
    assert run(["vectorize", str(out), "-o", str(vectors), "-q"]) == 0
    assert capsys.readouterr().out == ""
    count = pyogrio.read_info(vectors, layer="map")["features"]
    assert run(["vectorize", str(out), "-o", str(vectors)]) == 0
    assert capsys.readouterr().out == f"{count:,} polygons\nwrote {vectors}\n"
    assert run(["vectorize", str(out), "-o", str(vectors), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"outputs": [str(vectors)], "polygons": count}


def test_info_is_short_and_json_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import rasterio

    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 20, "height": 30, "count": 2, "dtype": "uint8"}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 5e5, 0, -2, 4e6)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.ones((2, 30, 20), np.uint8))
    assert run(["info", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "crs: WGS 84 / UTM zone 33N (EPSG:32633)" in lines
    assert "channels: [band 1, band 2]" in lines
    assert "shape: [30, 20]" in lines
    assert run(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["crs"].startswith("PROJCS[")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert re.fullmatch(r"tiledseg \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_config_schema_and_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "--schema"]) == 0
    assert "tiling" in json.loads(capsys.readouterr().out)["properties"]
    assert run(["config"]) == 0
    assert "image: scene.tif" in capsys.readouterr().out


def test_failed_tiles_are_status_3_and_the_next_run_mends_them(
    scene: Path,
    tmp_path: Path,
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tiledseg.models._torch import TorchModel

    out = tmp_path / "map.tif"
    arguments = [
        *("segment", str(scene), "-m", str(make_model()), "-o", str(out)),
        *("--set", "tiling.core=[70,140]"),
    ]
    calls = strike(monkeypatch, TorchModel, 4)  # two calls warm up; the second window fails
    assert run(arguments) == 3
    captured = capsys.readouterr()
    assert "cosmic ray" in captured.err
    assert "1 of 3 tiles failed" in captured.out
    calls[0] = 0
    assert run([*arguments, "--fresh", "-q"]) == 3
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("tiledseg: 1 of 3 tiles failed and are nodata; tile ")
    assert "cosmic ray" in captured.err
    with tiledseg.open_source(out) as source:
        assert (source.read(source.grid.box) == 255).sum() == 70 * 140
    monkeypatch.undo()
    assert run(arguments) == 0
    with tiledseg.open_source(out) as source:
        assert (source.read(source.grid.box) != 255).all()
    assert not Path(f"{out}.work").exists()


def test_help_names_every_command() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tiledseg", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in ("segment", "run", "plan", "info", "vectorize", "config", "demo"):
        assert command in told


@pytest.mark.parametrize(("number", "word"), [(2, "interrupted"), (15, "terminated")])
def test_a_signal_ends_a_run_in_order(
    tmp_path: Path, make_model: MakeModel, number: int, word: str
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "scene.png")
    dense = ["--stride", "8,8", "--set", "tiling.core=[64,64]", "--runtime", "torch"]
    command = [sys.executable, "-c", PLAIN, "segment", "scene.png", "-m", str(make_model())]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with subprocess.Popen(
        [*command, "-o", "map.tif", *dense],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not list(tmp_path.glob("map.tif.work/receipts/*.json")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        told = process.communicate()[1].splitlines()
    assert told[-1] == f"tiledseg: {word}; run the same command again to go on"
    assert process.returncode == 128 + number
    assert not list(scratch.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif.work", "scene.png", "scratch"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux who takes signals")
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("number", "word"), [(2, "interrupted"), (15, "terminated")])
def test_a_signal_while_everything_is_imported(
    scene: Path, tmp_path: Path, make_model: MakeModel, number: int, word: str, delay: float
) -> None:
    command = [sys.executable, "-c", PLAIN, "segment", scene, "-m", make_model(), "-o", "map.tif"]
    with subprocess.Popen(
        [*command, "--runner", "dask", "--stride", "2,2", "-q"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not _takes_signals(process.pid):
            assert process.poll() is None
        time.sleep(delay)
        process.send_signal(number)
        told = process.communicate()[1].splitlines()
    assert told == [f"tiledseg: {word}; run the same command again to go on"]
    assert process.returncode == 128 + number


#: A command that is told to end within what a library calls back, and would go on for a minute.
DROPPING = """
import ctypes, os, time
from tiledseg import cli
from tiledseg.cli import _run

def called_back():
    os.kill(os.getpid(), {number})
    time.sleep(0.01)
    return 0

def command(arguments):
    for _ in range(3):
        ctypes.CFUNCTYPE(ctypes.c_int)(called_back)()
        time.sleep(20)
    return 0, ""

_run.run_command = command
cli.main()
"""


@pytest.mark.parametrize(("number", "word"), [(2, "interrupted"), (15, "terminated")])
def test_a_signal_that_a_library_drops_ends_a_run(number: int, word: str) -> None:
    script = PLAIN.partition("from")[0] + DROPPING.format(number=number)
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert told.stderr.splitlines() == [f"tiledseg: {word}; run the same command again to go on"]
    assert told.returncode == 128 + number


def _takes_signals(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, which is taken after SIGINT."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = re.findall(r"SigCgt:\s*([0-9a-f]+)", status)
    return bool(int(caught, 16) >> (15 - 1) & 1)
