"""`tiledseg train`: from a recipe's file to a model that `tiledseg segment` runs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
import torch

import tiledseg
from tiledseg.cli import run
from tiledseg.cli._train import Steps
from tiledseg.errors import ConfigError
from tiledseg.training import Kept, Recipe, StepsDone, prepare_job, read_log

Values = Callable[..., dict[str, Any]]


def written(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "train.yaml"
    path.write_text(Recipe.parse(values).to_yaml())
    return path


def accuracy(found: Path, labels: Path) -> float:
    truth, seen = rasterio.open(labels).read(1), rasterio.open(found).read(1)
    return float((truth == seen)[truth != 200].mean())


@pytest.mark.parametrize("spacing", [None, [3.0, 3.0]])
def test_train_then_segment(
    spacing: list[float] | None,
    values: Values,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The held-out figures in the card are those of the class maps that segment writes."""
    monkeypatch.setattr("tiledseg.cli._train._LINE_EVERY", 0.0)
    recipe = written(
        values(data={"spacing": spacing}, run={"steps": 80, "validate": 40, "minutes": 0.001}),
        tmp_path,
    )
    model = tmp_path / "model"
    assert run(["train", str(recipe), "--out", str(model), "--threads", "1"]) == 0
    told = capsys.readouterr()
    assert "step 80/80: loss" in told.err
    lines = told.err.splitlines()
    where = lines.index("step 40: validating case 1 of 1 ...")
    assert lines[where + 1].startswith("step 40: held-out cases: mean dice 0.")
    assert re.search(
        r"step 80/80: loss [\d.]+, held-out mean dice [\d.]+, acc.* at step 40", told.err
    )
    (late,) = (line for line in told.err.splitlines() if line.startswith("warning: "))
    assert "planned: 0 s (run.minutes); for less set run.steps=" in late
    assert f"wrote {model}" in told.out
    page = (model / "train.html").read_text()
    assert page.count("<polyline") == 3
    assert "held-out groups: scene_" in page
    out = tmp_path / "map.tif"
    (held,) = prepare_job(Recipe.read(recipe)).split.held_out
    image = scenes.parent / f"{held}.tif"
    assert run(["segment", str(image), "-m", str(model), "-o", str(out), "-q"]) == 0
    found = accuracy(out, Path(str(image).replace("scene_", "labels_")))
    assert found > (0.8 if spacing is None else 0.7)
    done = json.loads((model / "train.json").read_text())["numbers"]
    assert done["best_step"] in (40, 80)  # the weights that were kept are those of the figures
    assert done["figures"]["accuracy"] == pytest.approx(found, abs=1e-3)
    assert "held-out figures: mean dice" in tiledseg.load_model(model).card.provenance


def test_interrupted_it_says_what_it_kept(values: Values, tmp_path: Path) -> None:
    recipe = written(values(run={"steps": 100000, "checkpoint": 100000}), tmp_path)
    command = [sys.executable, "-m", "tiledseg", "train", str(recipe), "-o", str(tmp_path / "m")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        left = process.communicate()[1]
    assert first.startswith("step ")
    assert process.returncode == 143
    assert "of 100000 is kept in" in left
    assert "terminated; run the same command again to go on" in left
    assert not (tmp_path / "m" / "model.yaml").exists()
    with pytest.raises(ConfigError, match="unfinished, and there is no model yet: go on") as caught:
        tiledseg.load_model(tmp_path / "m")
    on = str(caught.value).partition("tiledseg ")[2].split()
    assert run([*on, "-q", "--set", "network.architecture.norm=instance"]) == 2  # it is that recipe


def test_the_way_of_the_readme(scenes: Path, tmp_path: Path) -> None:
    """check, plan-training, train (a few steps of it), segment, evaluate."""
    recipe, model, out = (tmp_path / name for name in ("recipe.yaml", "model", "map.tif"))
    image, labels = (scenes.with_name(f"{kind}_0.tif") for kind in ("scene", "labels"))
    small = ["--set", "run.steps=4", "--set", "patches.batch=2", "--set", "run.validate=null"]
    for command in (
        ["check", str(scenes), "--out", str(tmp_path / "check")],
        ["plan-training", str(scenes), "--out", str(recipe), "--minutes", "1"],
        ["train", str(recipe), "--out", str(model), "--quiet", *small],
        ["segment", str(image), "--model", str(model), "--out", str(out), "--quiet"],
        [
            "evaluate",
            str(out),
            "--truth",
            str(labels),
            "--ignore",
            "200",
            "--out",
            str(tmp_path / "e"),
        ],
    ):
        assert run(command) == 0, command


def test_settings_are_overruled_and_told_in_python(
    values: Values, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = written(values(), tmp_path)
    out = tmp_path / "m"
    arguments = ["train", str(recipe), "-o", str(out), "--set", "run.steps=5", "--json"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 5
    made = tiledseg.train(values(run={"steps": 5}), tmp_path / "python", threads=1)
    assert made.numbers.step == 5
    assert made.card.name == "trained"
    assert [line["step"] for line in read_log(out / "train.log.jsonl") if "loss" in line] == [5]


def test_a_training_is_late_once_its_speed_has_settled(
    values: Values, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first steps decode images: their speed says nothing; nor does a later fall."""
    monkeypatch.setattr("tiledseg.cli._train._LINE_EVERY", 1e9)
    for minutes, expected in ((15.0, []), (3.0, ["it will take about 4 min, planned: 3 min"])):
        told = Steps(Recipe.parse(values(run={"steps": 1000, "minutes": minutes})).run, False)
        seconds = 0.0
        for number, speed in enumerate((1.2, 1.3, 2.7, 4.8, 4.9, 0.6, 0.6), 1):
            seconds += 10 / speed
            left = (1000 - 10 * number) / speed
            told(StepsDone(10 * number, 1.0, 0.1, seconds, speed, left))
        late = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
        assert [line[9 : 9 + len(text)] for line, text in zip(late, expected, strict=True)] == (
            expected
        )


def test_threads_are_those_of_the_training(values: Values, tmp_path: Path) -> None:
    """In steps before and after validations, in these, and in what goes on after a stop."""
    recipe, asked, seen = values(run={"steps": 12, "validate": 4}), [], []

    def told(event: Any) -> None:
        seen.append(torch.get_num_threads())
        if event.step == 8 and isinstance(event, Kept) and not asked:
            asked.append(event)
            raise KeyError

    before = torch.get_num_threads()
    count = 3 if before != 3 else 2
    with pytest.raises(KeyError):
        tiledseg.train(recipe, tmp_path / "m", threads=count, on_event=told)
    made = tiledseg.train(recipe, tmp_path / "m", on_event=told)
    whole = tiledseg.train(recipe, tmp_path / "whole", threads=count, on_event=told)
    assert set(seen) == {count}
    assert torch.get_num_threads() == before
    assert made.resumed == 8
    assert made.card.sha256 == whole.card.sha256


def test_what_is_wrong_is_one_sentence(
    values: Values, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = written(values(), tmp_path)
    arguments = ["train", str(recipe), "-o", str(tmp_path / "m")]
    for change, sentence in [
        ("patches.shares={lava: 1}", "there is no class 'lava'"),
        ("runs.steps=1", "recipe runs: there is no such setting"),
        ("patches.batch=0", "patches.batch: expected 1 to 65536, found 0"),
    ]:
        assert run([*arguments, "--set", change]) == 2
        assert sentence in capsys.readouterr().err
    assert run(["train", str(tmp_path / "none.yaml"), "-o", str(tmp_path / "m")]) == 2
    assert capsys.readouterr().err == f"tiledseg: there is no recipe {tmp_path / 'none.yaml'}\n"
    assert run([*arguments, "--device", "cuda:77"]) == 2
    assert "cuda:77" in capsys.readouterr().err
    assert run(["config", "--recipe"]) == 0
    assert "patches" in json.loads(capsys.readouterr().out)["properties"]
    assert run(["config", "--dataset"]) == 0
    assert {"cases", "legend", "outside"} <= set(json.loads(capsys.readouterr().out)["properties"])


def test_a_large_held_out_case_is_compared_on_disk(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same figures as in memory, and nothing left behind."""
    from tiledseg.pipeline import _validate

    small = tiledseg.train(values(), tmp_path / "small", threads=1)
    monkeypatch.setattr(_validate, "_MOST", 100)
    large = tiledseg.train(values(), tmp_path / "large", threads=1)
    assert large.numbers.figures == small.numbers.figures
    assert [p.name for p in (tmp_path / "large" / "training").iterdir()] == ["recipe.yaml"]


def test_figures_of_a_confusion() -> None:
    """By hand: two classes, one of them the background, three samples missed by the map."""
    from tiledseg.labels import ClassSchema
    from tiledseg.metrics import Confusion
    from tiledseg.pipeline._validate import figures

    schema = ClassSchema.of_names(["ground", "roof"], background=0)
    confusion = Confusion([0, 1])
    confusion.counts[:] = [[50, 10, 0], [5, 32, 3]]
    score, told = figures(confusion, schema)
    assert told["roof"] == {"dice": 2 * 32 / (2 * 32 + 10 + 8), "iou": 32 / (32 + 10 + 8)}
    assert score == told["roof"]["dice"] == told["mean dice"]
    assert told["accuracy"] == 0.82
