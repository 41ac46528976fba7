"""Which runtime is taken: never one that changes the map unasked, and the same one on resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import tiledseg
from tests.datasets.files import write_raster
from tests.runs import strike
from tiledseg.engine import WorkStore
from tiledseg.errors import ConfigError, PlanChanged
from tiledseg.models import (
    Runtime,
    Trial,
    card_to_dict,
    create_network,
    find_card,
    runtimes,
    save_model,
)
from tiledseg.pipeline import _choose as choosing
from tiledseg.pipeline import _job as deciding
from tiledseg.pipeline import _probe as probing
from tiledseg.pipeline._job import require_same
from tiledseg.pipeline._names import work_folder

MakeModel = Callable[..., Path]
REFERENCE = Runtime("torch")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Return a scene of a few windows."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (3, 20, 22), np.uint8).repeat(8, 1).repeat(8, 2)
    return write_raster(tmp_path / "scene.tif", values)


@pytest.fixture
def image(scene: Path) -> np.ndarray:
    """Return its samples."""
    with tiledseg.open_source(scene) as source:
        return np.asarray(source.read(source.grid.box))


@pytest.fixture
def long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every run long enough for measuring."""
    monkeypatch.setattr(choosing, "_SHORT", -1.0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache."""
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def trial(name: Any, precision: Any, seconds: float | None, agreement: float | None) -> Trial:
    return Trial(Runtime(name, precision), 1, seconds, agreement)


def planned(image: Any, model: Path, out: Path | None = None, **runtime: Any) -> Any:
    """Return the choice of a run that is not carried out."""
    job = tiledseg.plan(image, model, out, runtime=runtime, tiling={"window": [64, 64]})
    with job:
        return job.choice, job.plan


# --------------------------------------------------------------------- the rule


def test_the_fastest_that_agrees_is_taken() -> None:
    trials = (
        trial("torch", "fp32", 1.0, 1.0),
        trial("openvino", "bf16", 0.1, 0.9989),
        trial("openvino", "fp32", 0.4, 0.99999),
        trial("onnxruntime", "fp32", 0.5, 1.0),
        trial("compiled", "fp32", None, None),
    )
    assert choosing.pick(trials, "here").runtime == Runtime("openvino")
    assert choosing.pick(trials[:2], "here").runtime == REFERENCE


def test_the_limit_itself_is_enough() -> None:
    trials = (trial("torch", "fp32", 1.0, 1.0), trial("openvino", "bf16", 0.5, 0.999))
    assert choosing.pick(trials, "here").runtime == Runtime("openvino", "bf16")


def test_where_nobody_agrees_the_first_is_taken_and_it_is_told() -> None:
    trials = (trial("openvino", "fp32", 1.0, 0.2), trial("openvino", "bf16", 0.5, 0.1))
    choice = choosing.pick(trials, "here")
    assert choice.runtime == Runtime("openvino")
    assert "no other agreed on 99.9%" in choice.why


# --------------------------------------------------------------------- in a run


def test_a_short_run_measures_nothing(image: np.ndarray, make_model: MakeModel) -> None:
    choice, plan = planned(image, make_model(), precision="auto")
    assert (choice.runtime, choice.trials) == (REFERENCE, ())
    assert (plan.runtime, plan.precision) == REFERENCE
    assert "short" in choice.why


def test_what_is_asked_for_is_taken(image: np.ndarray, make_model: MakeModel) -> None:
    pytest.importorskip("openvino")
    choice, plan = planned(image, make_model(), runtime="openvino", precision="bf16")
    assert choice.runtime == (plan.runtime, plan.precision) == ("openvino", "bf16")
    assert choice.trials == ()


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({"precision": "bf16"}, Runtime("torch", "bf16")),
        ({"runtime": "openvino", "precision": "auto"}, Runtime("openvino")),
        ({"runtime": "openvino"}, Runtime("openvino")),
    ],
    ids=str,
)
def test_what_is_planned_is_what_runs(
    image: np.ndarray, make_model: MakeModel, asked: dict[str, Any], taken: Runtime
) -> None:
    """A short run measures nothing; it keeps to what was asked for all the same."""
    pytest.importorskip("openvino")
    job = tiledseg.plan(image, make_model(), runtime=asked, tiling={"window": [64, 64]})
    with job:
        assert job.choice.runtime == job.model.runtime == taken
        assert (job.plan.runtime, job.plan.precision) == taken


def test_a_loaded_model_is_run_as_it_was_loaded(image: np.ndarray, make_model: MakeModel) -> None:
    loaded = tiledseg.load_model(make_model(), runtime="torch", precision="bf16")
    with tiledseg.plan(image, loaded) as job:
        assert job.choice.runtime == Runtime("torch", "bf16")
    for wrong in ({"precision": "fp32"}, {"runtime": "openvino"}):
        with pytest.raises(ConfigError, match="the model was loaded for"):
            tiledseg.plan(image, loaded, runtime=wrong)


def test_members_of_two_kinds_share_a_runtime(
    image: np.ndarray, tmp_path: Path, make_model: MakeModel
) -> None:
    pytest.importorskip("onnxruntime")
    from tiledseg.models import load_model

    native = make_model()
    x = np.zeros((1, 3, 64, 64), np.float32)
    load_model(native, runtime=Runtime("onnxruntime"))(torch.from_numpy(x))
    (graph,) = (tmp_path / "cache" / "onnx").glob("*.onnx")
    shutil.copy(graph, tmp_path / "twin.onnx")
    card = {**card_to_dict(find_card(native)), "format": "onnx", "weights": "twin.onnx"}
    card.pop("sha256", None)
    (tmp_path / "twin.yaml").write_text(
        yaml.safe_dump({**card, "architecture": {}, "any_size": False})
    )
    both = [native, tmp_path / "twin.onnx"]
    settings = {"tiling": {"window": [64, 64]}}
    found = tiledseg.segment(image, both, runtime={"precision": "auto"}, **settings)
    alone = tiledseg.segment(image, native, runtime={"runtime": "onnxruntime"}, **settings)
    assert (found.array == alone.array).mean() > 0.999
    with pytest.raises(ConfigError, match="cannot run model"):
        tiledseg.plan(image, both, runtime={"runtime": "torch", "precision": "auto"}, **settings)


@pytest.mark.usefixtures("long_run")
def test_a_probe_on_noise_decides_nothing(
    scene: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = tuple(r for r in runtimes(find_card(make_model()), "cpu") if r.name != "compiled")
    monkeypatch.setattr(probing, "runtimes", lambda *asked: ways)  # compiling takes a minute
    model = shutil.copytree(make_model(), tmp_path / "model")
    tiledseg.probe(model, threads=1)
    runtime = {"precision": "auto", "threads": 1}
    noise, _ = planned(scene, model, **runtime)
    assert "probe" not in noise.why
    found, _ = tiledseg.probe(model, scene, threads=1)
    image, plan = planned(scene, model, **runtime)
    assert "in the probe" in image.why
    assert image.runtime in {t.runtime for t in found.trials if t.accepted}
    assert plan.microbatch == {t.runtime: t.microbatch for t in image.trials}[image.runtime]


@pytest.mark.usefixtures("long_run")
def test_a_runtime_that_fails_is_passed_over(
    image: np.ndarray, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")

    def broken(*args: Any) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException("no such kernel")

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", broken)
    choice, _ = planned(image, make_model())
    (failed,) = [t for t in choice.trials if t.runtime.name == "onnxruntime"]
    assert "no such kernel" in failed.problem
    assert choice.runtime.name != "onnxruntime"


@pytest.mark.usefixtures("long_run")
def test_what_is_tried_has_the_threads_of_the_run(
    scene: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the caller has its own again."""
    real, before, threads = choosing.try_runtime, torch.get_num_threads(), set()

    def seen(*arguments: Any) -> Any:
        threads.add(torch.get_num_threads())
        return real(*arguments)

    monkeypatch.setattr(choosing, "try_runtime", seen)
    planned(scene, make_model(), runtime="auto", threads=before + 1)
    assert threads == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("long_run")
def test_a_long_run_measures_and_remembers(
    scene: Path, make_model: MakeModel, own_cache: Path
) -> None:
    pytest.importorskip("openvino")
    choice, _ = planned(scene, make_model(), runtime="auto", precision="auto")
    tried = {t.runtime for t in choice.trials}
    assert {REFERENCE, Runtime("openvino"), Runtime("openvino", "bf16")} <= tried
    taken = next(t for t in choice.trials if t.runtime == choice.runtime)
    assert taken.accepted
    assert taken.seconds == min(t.seconds for t in choice.trials if t.accepted)
    again, _ = planned(scene, make_model(), runtime="auto", precision="auto")
    assert again.runtime == choice.runtime
    assert again.why.endswith("measured before")
    assert again.trials == choice.trials
    for kept in (own_cache / "trials").iterdir():  # a damaged memory is none
        kept.write_text('{"windows": 3, "trials": [{}]}')
    anew, _ = planned(scene, make_model(), runtime="auto", precision="auto")
    assert "measured before" not in anew.why


@pytest.mark.usefixtures("long_run")
def test_another_image_is_measured_anew(
    scene: Path, image: np.ndarray, tmp_path: Path, make_model: MakeModel
) -> None:
    planned(scene, make_model(), precision="auto")
    other = write_raster(tmp_path / "other.tif", 255 - image)
    choice, _ = planned(other, make_model(), precision="auto")
    assert "measured before" not in choice.why


@pytest.mark.usefixtures("long_run")
def test_fp32_is_the_default_precision(image: np.ndarray, make_model: MakeModel) -> None:
    choice, _ = planned(image, make_model())
    assert {t.runtime.precision for t in choice.trials} == {"fp32"}


@pytest.mark.usefixtures("long_run")
def test_a_runtime_that_says_something_else_is_not_taken(
    image: np.ndarray, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fastest is made to give another class wherever it is asked."""
    pytest.importorskip("openvino")
    from tiledseg.models._openvino import OpenVinoModel

    right = OpenVinoModel.__call__
    monkeypatch.setattr(OpenVinoModel, "__call__", lambda self, x: -right(self, x))
    choice, _ = planned(image, make_model(), runtime="auto", precision="auto")
    assert choice.runtime.name != "openvino"
    wrong = [t for t in choice.trials if t.runtime.name == "openvino"]
    assert wrong
    assert not any(t.accepted for t in wrong)


@pytest.mark.usefixtures("long_run")
def test_an_empty_sample_chooses_the_reference(make_model: MakeModel, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "empty.tif", np.zeros((3, 160, 176), np.uint8), nodata=0)
    choice, _ = planned(path, make_model(), precision="auto")
    assert choice.runtime == REFERENCE
    assert "no window of the sample is valid" in choice.why


def test_the_report_tells_what_was_tried(
    scene: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_SHORT", -1.0)
    out = tmp_path / "map.tif"
    result = tiledseg.segment(scene, make_model(), out, runtime={"precision": "auto"})
    told = json.loads((tmp_path / "map.report" / "report.json").read_text())["ran"]
    assert "fastest of" in told["runtime"]
    assert told["agreement_with_reference"].endswith("%")
    assert len(told["runtimes_tried"]) > 1
    assert told["model_waited"].endswith("% for writing")
    assert all(0 <= share < 1 for share in result.ran.waited.values())
    assert result.ran.evaluated == told["windows_evaluated"]


# --------------------------------------------------------------------- resume


@pytest.mark.usefixtures("long_run")
def test_unfinished_work_keeps_its_runtime(
    scene: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a map by one library and half by another would be nobody's map."""
    pytest.importorskip("openvino")
    from tiledseg.models._openvino import OpenVinoModel

    out = tmp_path / "map.tif"
    tiling = {"window": [64, 64], "core": [64, 64]}
    strike(monkeypatch, OpenVinoModel, 4)
    runtime = {"runtime": "openvino", "precision": "bf16"}
    first = tiledseg.segment(scene, make_model(), out, tiling=tiling, runtime=runtime)
    assert first.ran.lost
    monkeypatch.undo()
    auto = {"runtime": "auto", "precision": "auto"}
    job = tiledseg.plan(scene, make_model(), out, tiling=tiling, runtime=auto)
    with job:
        assert job.choice.runtime == Runtime("openvino", "bf16")
        assert "unfinished work" in job.choice.why
    second = tiledseg.segment(scene, make_model(), out, tiling=tiling, runtime=auto)
    assert second.ran.resumed > 0
    assert not second.ran.lost


# --------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ({"runtime": "onnxruntime", "precision": "bf16"}, "onnxruntime bf16 cannot run"),
        ({"precision": "fp16"}, "fp16"),
        ({"runtime": "tensorrt"}, "runtime"),
        ({"precision": "int8"}, "precision"),
        ({"threads": 0}, "threads"),
        ({"microbatch": 0}, "microbatch"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    image: np.ndarray, make_model: MakeModel, runtime: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        planned(image, make_model(), **runtime)


# --------------------------------------------------------------------- the sample


def sampled_rows(image: np.ndarray, model: Path) -> list[int]:
    """Return the first row of every window compared; the image's samples are their row."""
    settings = {"tiling": {"window": [64, 64]}, "runtime": {"runtime": "torch"}}
    with tiledseg.plan(image, model, **settings) as job:
        grids = replace(job.grids, normalized=True)
        view = choosing.View(grids, job.overview)
        windows = view.windows(job.plan)
    assert windows is not None
    return [int(window[0].min()) for window in windows]


def test_the_sample_spans_the_image(make_model: MakeModel) -> None:
    rows = np.arange(2000, dtype=np.uint16)
    image = np.broadcast_to(rows[None, :, None], (3, 2000, 128)).copy()
    found = sampled_rows(image, make_model())
    assert len(found) == 4
    assert found[0] < 400
    assert found[-1] > 1500


def test_the_sample_looks_where_something_was_measured(make_model: MakeModel) -> None:
    rows = np.arange(2000, dtype=np.float32)
    image = np.broadcast_to(rows[None, :, None], (3, 2000, 128)).copy()
    image[:, :1400] = np.nan
    assert min(sampled_rows(image, make_model())) >= 1400 - 64


@pytest.mark.usefixtures("long_run")
def test_a_sample_of_one_class_decides_nothing(
    image: np.ndarray, make_model: MakeModel, tmp_path: Path
) -> None:
    card = replace(find_card(make_model()), sha256=None)
    network = create_network(card)
    with torch.no_grad():
        list(network.parameters())[-1][1] = 1000.0  # the bias of the scores
    save_model(network, card, tmp_path / "sure")
    choice, _ = planned(image, tmp_path / "sure")
    assert choice.runtime == REFERENCE
    assert "one class" in choice.why


def test_too_many_threads_are_told(image: np.ndarray, make_model: MakeModel) -> None:
    for workers, told in ((1, False), (1000, True)):
        job = tiledseg.plan(image, make_model(), runtime={"workers": workers, "threads": 1})
        with job:
            assert any("share" in text for text in job.warnings) is told


def test_another_version_of_a_library_does_not_finish_the_work(
    scene: Path, make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "map.tif"
    with tiledseg.plan(scene, make_model(), out) as job:
        WorkStore.create(work_folder(out), job.plan, job.identity, {}, (np.dtype("u1"), 255), None)
    with tiledseg.plan(scene, make_model(), out) as job:
        require_same(job, work_folder(out))
    monkeypatch.setattr(deciding, "versions_behind", lambda runtime, card: {"torch": "0.1"})
    with (
        tiledseg.plan(scene, make_model(), out) as job,
        pytest.raises(PlanChanged, match=r"libraries was .*torch"),
    ):
        require_same(job, work_folder(out))
