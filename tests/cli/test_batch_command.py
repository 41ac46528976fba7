"""Many images on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiledseg.cli import run

MakeModel = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two scenes, ``scenes/a.png`` and ``scenes/b.png``."""
    (tmp_path / "scenes").mkdir()
    for seed, name in enumerate("ab"):
        pixels = np.random.default_rng(seed).integers(0, 255, (70, 150, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "scenes" / f"{name}.png")
    return tmp_path


def arguments(folder: Path, model: Path, *more: str) -> list[str]:
    """Return a batch over the folder's scenes."""
    pattern, out = folder / "scenes" / "*.png", folder / "maps" / "{name}.tif"
    return ["segment", str(pattern), "-m", str(model), "-o", str(out), *more]


def test_progress_and_summary(
    folder: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(folder, make_model())) == 0
    told = capsys.readouterr()
    assert "a done: 6 windows, " in told.err
    assert f"{folder}/maps/b.tif" in told.err
    assert "12/12 windows" in told.err
    assert "2 inputs: 2 done; 12 windows" in told.out
    assert f"wrote {folder}/maps/batch.report/report.html" in told.out
    assert run(arguments(folder, make_model())) == 0
    told = capsys.readouterr()
    assert "b kept: " in told.err
    assert "2 inputs: 2 kept" in told.out


def test_quiet_and_json(
    folder: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "scenes" / "b.png").write_bytes(b"\x89PNG no more")
    assert run(arguments(folder, make_model(), "-q")) == 3
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()  # what failed is told with -q, too
    assert line.startswith("tiledseg: b failed: ")
    assert run(arguments(folder, make_model(), "-q", "--json", "--fresh")) == 3
    told = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in told["inputs"]] == ["done", "failed"]
    assert told["inputs"][0]["out"] == f"{folder}/maps/a.tif"
    assert all(Path(path).exists() for path in told["report"])
    assert run(["info", f"{folder}/maps/batch.report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"][1]["state"] == "failed"


def test_when_all_fail(
    folder: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2; 4 where all were refused by the memory budget."""
    assert run(arguments(folder, make_model(), "--memory", "1MB")) == 4
    assert "a failed: the program, its libraries" in capsys.readouterr().err
    assert run(arguments(folder, make_model(channels=2))) == 2
    assert "takes 2 channels" in capsys.readouterr().err
    for name in "ab":
        (folder / "scenes" / f"{name}.png").write_bytes(b"")
    assert run(arguments(folder, make_model())) == 2
    assert not list((folder / "maps").glob("*.tif*"))


def test_a_model_that_is_not_there_is_told_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(folder, folder / "nowhere")) == 2
    told = capsys.readouterr().err
    assert told.count("nowhere") == 1
    assert "failed" not in told


def test_a_config_of_many(
    folder: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "list.csv").write_text("image,name\nscenes/b.png,first\nscenes/a.png,second\n")
    config = folder / "c.yaml"
    config.write_text(
        f"image: {folder}/list.csv\nmodel: {make_model()}\nout: '{folder}/x/{{name}}/map.tif'\n"
        f"output: {{scores: '{folder}/x/{{name}}/scores.tif'}}\n"
    )
    assert run(["run", str(config), "-q"]) == 0
    for name in ("first", "second"):
        assert (folder / "x" / name / "map.tif").exists()
        assert (folder / "x" / name / "scores.tif").exists()
    assert (folder / "x" / "batch.report" / "report.csv").exists()
    # The config of one input runs again, alone.
    alone = folder / "x" / "first" / "map.report" / "run.yaml"
    before = (folder / "x" / "first" / "map.tif").read_bytes()
    assert run(["run", str(alone), "-q", "--fresh"]) == 0
    assert (folder / "x" / "first" / "map.tif").read_bytes() == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["segment", "plan"])
def test_a_plain_output_for_many(
    folder: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    out = ["-o", str(folder / "map.tif")] if command == "segment" else []
    assert run([command, str(folder / "scenes" / "*.png"), "-m", str(make_model()), *out]) == 2
    assert "segment them with an output that holds {name}" in capsys.readouterr().err


def test_plain_images_and_a_plain_output_are_stacked(
    folder: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [str(folder / "scenes" / f"{name}.png") for name in "ab"]
    out = folder / "map.tif"
    assert run(["segment", *images, "-m", str(make_model(channels=6)), "-o", str(out), "-q"]) == 0
    assert out.exists()
    assert capsys.readouterr().err == ""
