"""A training as a whole: kills, resuming, changes, what goes wrong, several processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import rasterio
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.runs import started_script
from tiledseg.errors import ConfigError, MissingBackend, OutputFailed, PlanChanged, TrainingFailed
from tiledseg.models import load_model
from tiledseg.training import Options, Recipe, Trained, prepare_job, read_log, run_training

Values = Callable[..., dict[str, Any]]
#: Everything whose state a checkpoint must hold.
RICH: dict[str, Any] = {
    "network": {
        "architecture": {"name": "unet", "channels": [4, 8], "strides": [2], "dropout": 0.2}
    },
    "augment": {"flips": "all", "rotation": 20.0, "noise": 0.1, "elastic": 1.0, "chance": 0.5},
    "optimizer": {"rate": 0.02, "ema": 0.9, "accumulate": 2, "warmup": 4},
    "run": {"steps": 60, "checkpoint": 4, "validate": 15},
}
_RUN = """
import sys
from pathlib import Path
from tiledseg.training import Options, Recipe, prepare_job, run_training
job = prepare_job(Recipe.read(sys.argv[1]))
def validate(card):
    return lambda weights, _: (-float(sum(abs(v.float()).sum() for v in weights.values())), {})
def told(event):
    print(type(event).__name__, event.step, flush=True)
run_training(job, Path(sys.argv[2]), Options(threads=1), validate, told)
"""
#: Has every process write the weights that it ends with.
_RANKS = """
from safetensors.torch import save_file
from tiledseg.training import _train
class Loop(_train.Loop):
    def run(self):
        super().run()
        folder = self.folder.parent / f"rank{self.world.rank}"
        folder.mkdir()
        state = {k: v.contiguous() for k, v in self.state.weights().items()}
        save_file(state, folder / "weights.safetensors")
_train.Loop = Loop
"""


def train(values: dict[str, Any], out: Path, **options: Any) -> Trained:
    on_event = options.pop("on_event", None)
    job = prepare_job(Recipe.parse(values))
    return run_training(job, out, Options(threads=1, **options), None, on_event)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def begun(recipe: Path, out: Path) -> ForkServerProcess:
    """Begin or go on with a training in a process of its own, which tells in ``told`` how it is."""
    script = recipe.with_name("run.py")
    script.write_text(_RUN)
    return started_script(script, [str(recipe), str(out)], recipe.with_name("told"))


def ended(recipe: Path, out: Path) -> None:
    """Train to the end."""
    process = begun(recipe, out)
    process.join()
    assert process.exitcode == 0, recipe.with_name("told").read_text()


def written(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "train.yaml"
    path.write_text(Recipe.parse(values).to_yaml())
    return path


def until(process: ForkServerProcess, told: Path, step: int) -> None:
    """Wait until a training has done so many steps."""
    while not told.exists() or all(int(n) < step for n in re.findall(r"(\d+)\n", told.read_text())):
        assert process.is_alive(), "it ended before"
        time.sleep(0.001)


def test_killed_at_any_moment_and_resumed_the_weights_are_the_same(
    values: Values, tmp_path: Path
) -> None:
    """Not one bit of difference: SIGKILL at several moments, then SIGTERM, then to the end."""
    recipe = written(values(**RICH), tmp_path)
    whole, pieces, told = tmp_path / "whole", tmp_path / "pieces", tmp_path / "told"
    ended(recipe, whole)
    for step, delay, number in [
        (4, 0.013, signal.SIGKILL),
        (20, 0.031, signal.SIGKILL),
        (36, 0.0, signal.SIGTERM),
    ]:
        told.unlink()
        process = begun(recipe, pieces)
        until(process, told, step)
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join()
        assert process.exitcode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
        if number == signal.SIGTERM:
            assert told.read_text().splitlines()[-1].startswith("Kept")
    ended(recipe, pieces)
    assert same(whole, pieces)
    whole_log, log = (read_log(folder / "train.log.jsonl") for folder in (whole, pieces))
    scores = {line["step"]: line["score"] for line in log if "score" in line}
    assert scores == {line["step"]: line["score"] for line in whole_log if "score" in line}
    assert list(scores) == [15, 30, 45, 60]
    steps = [line["step"] for line in log if "loss" in line]
    assert steps == sorted(set(steps))  # none twice; the last reports are there
    assert steps[-1] == 60
    assert sorted(p.name for p in (pieces / "training").iterdir()) == ["recipe.yaml"]


def test_another_seed_gives_other_weights(values: Values, tmp_path: Path) -> None:
    train(values(), tmp_path / "a")
    train(values(), tmp_path / "b")
    train(values(run={"seed": 1}), tmp_path / "c")
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_a_moving_average_of_a_short_training_forgets_its_random_beginning(
    values: Values, tmp_path: Path
) -> None:
    def learned(name: str, **optimizer: float) -> torch.Tensor:
        train(values(run={"steps": 40}, optimizer=optimizer), tmp_path / name)
        state = load_file(tmp_path / name / "weights.safetensors")
        return torch.cat([v.flatten() for v in state.values() if v.is_floating_point()])

    begun = learned("begun", rate=1e-12, decay=0.0)
    ended, averaged = learned("ended", ema=0.0), learned("averaged", ema=0.999)
    assert 0 < (averaged - ended).norm() < 0.5 * (begun - ended).norm()


def test_what_comes_out_is_a_model_that_says_where_it_comes_from(
    values: Values, tmp_path: Path
) -> None:
    made = train(values(), tmp_path / "m", command="tiledseg train recipe.yaml --out m")
    model = load_model(tmp_path / "m")
    assert model(torch.zeros(1, 2, 32, 32)).shape == (1, 3, 32, 32)
    told = model.card.provenance
    for part in (
        *("trained by tiledseg", "command: tiledseg train recipe.yaml --out m", "sha256"),
        *(
            "licence of the data: CC0",
            "fold 0 of 0 to 3 by group",
            "held-out groups: scene_",
            "seed: 0",
        ),
        "steps: 12 of 12",
    ):
        assert part in told
    assert made.numbers.step == 12
    again = train(values(), tmp_path / "m")
    assert again.resumed == 12
    assert again.card.provenance == told


def test_a_changed_recipe_or_dataset_is_refused(values: Values, tmp_path: Path) -> None:
    out = tmp_path / "m"

    class Enough(Exception):
        pass

    def stop(event: Any) -> None:
        if event.step >= 6:
            raise Enough

    with pytest.raises(Enough):
        train(values(), out, on_event=stop)
    with pytest.raises(PlanChanged, match=r"optimizer.rate was 0\.02 and is 0\.5"):
        train(values(optimizer={"rate": 0.5}), out)
    job = prepare_job(Recipe.parse(values()))
    other = prepare_job(Recipe.parse(values(data={"fold": 1})))
    object.__setattr__(other, "recipe", job.recipe)
    with pytest.raises(PlanChanged, match=r"cases learned from were sha256 \w{12} and are"):
        run_training(other, out, Options(threads=1))
    assert train(values(optimizer={"rate": 0.5}), out, fresh=True).resumed == 0


def changed(kind: str, folder: Path) -> None:
    """Change a dataset in one respect."""
    path = folder / "dataset.yaml"
    told = yaml.safe_load(path.read_text())
    if kind == "classes":
        told["classes"].reverse()
    elif kind == "legend":
        told["legend"] = {0: "ground", 1: "water", 2: "road"}
    else:
        held = prepare_job(recipe_of(path)).split.held_out[0].removeprefix("scene_")
        case = held if kind == "held out" else next(n for n in "0123" if n != held)
        with rasterio.open(folder / f"scene_{case}.tif", "r+") as image:
            if kind == "grid":
                image.transform = rasterio.Affine(3, 0, 500000, 0, -3, 4000000)
                with rasterio.open(folder / f"labels_{case}.tif", "r+") as labels:
                    labels.transform = image.transform
            else:
                image.write(image.read() + 1)
    path.write_text(yaml.safe_dump(told))


def recipe_of(dataset: Path) -> Recipe:
    return Recipe.parse(
        {
            "data": {"dataset": str(dataset), "folds": 4},
            "network": {"architecture": {"name": "unet", "channels": [4, 8], "strides": [2]}},
            "patches": {"window": [32, 32], "batch": 2},
            "run": {"steps": 2, "precision": "fp32"},
        }
    )


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("classes", r"classes were 0 ground, 1 road, 2 water .* and are 0 water, 1 road, 2 ground"),
        ("legend", "samples and labels of the cases learned from were sha256"),
        ("grid", "grids and channels of the cases learned from were sha256"),
        ("image", "samples and labels of the cases learned from were sha256"),
        ("held out", "samples and labels of the cases held out were sha256"),
    ],
)
def test_a_dataset_that_changed_is_refused_by_what_changed(
    kind: str, sentence: str, finished: bool, scenes: Path, tmp_path: Path
) -> None:
    """Whether the training is under way or done."""
    folder, out = tmp_path / "data", tmp_path / "m"
    shutil.copytree(scenes.parent, folder)
    recipe = recipe_of(folder / scenes.name)

    def stop(event: Any) -> None:
        if not finished:
            raise KeyError

    with nullcontext() if finished else pytest.raises(KeyError):
        run_training(prepare_job(recipe), out, Options(threads=1), None, stop)
    split = prepare_job(recipe).split
    changed(kind, folder)
    job = prepare_job(recipe)
    if job.split != split:  # folds are alike in classes: keep the sides, so that only this changed
        pytest.fail("the change moved cases between folds")
    with pytest.raises(PlanChanged, match=sentence):
        run_training(job, out, Options(threads=1))


def test_threads_are_kept_and_others_refused(values: Values, tmp_path: Path) -> None:
    out, before = tmp_path / "m", torch.get_num_threads()

    def stop(event: Any) -> None:
        if event.step >= 6:
            raise KeyError

    with pytest.raises(KeyError):
        train(values(), out, on_event=stop)
    job = prepare_job(Recipe.parse(values()))
    with pytest.raises(PlanChanged, match="threads were 1 and are 2"):
        run_training(job, out, Options(threads=2))
    seen = []
    torch.set_num_threads(2)
    try:
        run_training(job, out, Options(), None, lambda event: seen.append(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_other_pretrained_weights_are_refused_and_told(values: Values, tmp_path: Path) -> None:
    """By what is in the file, wherever it lies."""
    from tiledseg.models import create_model

    files = [tmp_path / f"{seed}.safetensors" for seed in (0, 1)]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        made = create_model("unet", "resnet18", channels=3, classes=3, dims=2)
        encoder = {
            name.removeprefix("encoder."): tensor.contiguous()
            for name, tensor in made.state_dict().items()
            if name.startswith("encoder.")
        }
        save_file(encoder, file)

    def of(file: Path) -> dict[str, Any]:
        network = {"architecture": {"name": "unet", "encoder": "resnet18"}}
        return values(network={**network, "encoder_weights": str(file)}, run={"steps": 1})

    made = train(of(files[0]), tmp_path / "m")
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert f"encoder weights: sha256 {digest}" in made.card.provenance
    moved = files[0].rename(tmp_path / "moved.safetensors")
    assert train(of(moved), tmp_path / "m").resumed == 1
    with pytest.raises(PlanChanged, match=f"encoder weights were sha256 {digest[:12]} and are"):
        train(of(files[1]), tmp_path / "m")


def test_a_second_training_in_one_folder_is_refused(values: Values, tmp_path: Path) -> None:
    out, told = tmp_path / "m", []

    def again(event: Any) -> None:
        with pytest.raises(PlanChanged, match="another run is writing") as caught:
            train(values(), out)
        told.append(str(caught.value))

    train(values(), out, on_event=again)
    assert told
    assert "\n" not in told[0]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_the_recipe_that_is_kept_leads_to_the_dataset_from_anywhere(
    values: Values, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes.parent)
    Path("recipe.yaml").write_text(Recipe.parse(values(data={"dataset": scenes.name})).to_yaml())
    for number, recipe in enumerate(
        (Recipe.read("recipe.yaml"), Recipe.parse(values(data={"dataset": scenes.name})))
    ):
        out = tmp_path / str(number)
        run_training(prepare_job(recipe), out, Options(threads=1))
        kept = Recipe.read(out / "training" / "recipe.yaml")
        assert Path(kept.data.dataset) == scenes


def test_a_folder_of_something_else_is_left_alone(values: Values, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("five years")
    for fresh in (False, True):
        with pytest.raises(ConfigError, match="holds something else than a training"):
            train(values(), tmp_path, fresh=fresh)
    assert (tmp_path / "thesis.txt").read_text() == "five years"


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
    values: Values, tmp_path: Path
) -> None:
    wild = values(optimizer={"name": "sgd", "rate": 100.0, "clip": None}, run={"steps": 400})
    with pytest.raises(TrainingFailed, match=r"is (nan|inf), which is no number.*lower optimizer"):
        train(wild, tmp_path / "m")
    kept = load_file(tmp_path / "m" / "training" / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_a_damaged_checkpoint_is_named(values: Values, tmp_path: Path) -> None:
    def stop(event: Any) -> None:
        if event.step >= 6:
            raise KeyError

    with pytest.raises(KeyError):
        train(values(), tmp_path / "m", on_event=stop)
    path = tmp_path / "m" / "training" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OSError, match=r"is not a checkpoint .* --fresh"):
        train(values(), tmp_path / "m")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk at hand")
def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    from tiledseg.training._checkpoint import load_tensors, save_tensors

    path = tmp_path / "checkpoint.safetensors"
    save_tensors(path, {"a": torch.ones(3)}, {"step": 1})
    limited = (
        "import resource, signal, torch; from pathlib import Path\n"
        "from tiledseg.training._checkpoint import save_tensors\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"save_tensors(Path({str(path)!r}), {{'a': torch.ones(9999)}}, {{'step': 2}})\n"
    )
    run = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True)
    assert OutputFailed.__name__ in run.stderr
    assert "cannot write" in run.stderr
    assert load_tensors(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_early_stop_keeps_the_best(values: Values, tmp_path: Path) -> None:
    """Scores that fall after the second validation: training ends, the second's weights stay."""
    scores = iter([0.1, 0.9, 0.3, 0.2, 0.1])
    seen: list[dict[str, torch.Tensor]] = []

    def validate(card: Any) -> Any:
        def check(state: dict[str, torch.Tensor], on_case: Any) -> tuple[float, dict[str, Any]]:
            seen.append({k: v.clone() for k, v in state.items()})
            return next(scores), {"ground": {"dice": 0.5}}

        return check

    job = prepare_job(Recipe.parse(values(run={"validate": 2, "patience": 2})))
    made = run_training(job, tmp_path / "m", Options(threads=1), validate)
    assert (made.numbers.step, made.numbers.best_step, made.numbers.best) == (8, 4, 0.9)
    assert all(torch.equal(v, seen[1][k]) for k, v in weights(tmp_path / "m").items())
    assert "weights of step 4, the best on the held-out cases" in made.card.provenance
    assert "ground dice 0.5" in made.card.provenance


def test_two_processes_end_with_the_same_weights(values: Values, tmp_path: Path) -> None:
    """torch's own launcher, gloo: each takes half of every batch."""
    steps = {"run": {"steps": 30, "checkpoint": 30}, "patches": {"batch": 4}}
    recipe = written(values(**steps), tmp_path)
    script = tmp_path / "run.py"
    script.write_text(_RANKS + _RUN)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    asked = [sys.executable, *launcher, str(script), str(recipe), str(tmp_path / "m")]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(asked, capture_output=True, text=True, env=alone, timeout=240)
    assert run.returncode == 0, run.stderr
    log = [line for line in read_log(tmp_path / "m" / "train.log.jsonl") if "loss" in line]
    assert [line["step"] for line in log] == [10, 20, 30]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    first, second = (weights(tmp_path / "m" / f"rank{rank}") for rank in (0, 1))
    # Statistics of batch norm are each process' own until the first's are sent with the next pass.
    learned = [name for name in first if "running_" not in name]
    assert all(torch.equal(first[name], second[name]) for name in learned)
    assert same(tmp_path / "m" / "rank0", tmp_path / "m")
    assert json.loads((tmp_path / "m" / "train.json").read_text())["numbers"]["step"] == 30


def test_a_batch_that_processes_cannot_share_evenly_is_refused(
    values: Values, tmp_path: Path
) -> None:
    recipe = written(values(patches={"batch": 3}), tmp_path)
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    asked = [sys.executable, *launcher, str(script), str(recipe), str(tmp_path / "m")]
    run = subprocess.run(asked, capture_output=True, text=True)
    assert run.returncode != 0
    assert "patches.batch 3 cannot be shared evenly by 2 processes" in run.stderr
    assert not (tmp_path / "m").exists()


def test_tensorboard_shows_what_the_log_says(values: Values, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(values(run={"tensorboard": True}), tmp_path / "m")
    events = EventAccumulator(str(tmp_path / "m" / "tensorboard"))
    events.Reload()
    log = [line for line in read_log(tmp_path / "m" / "train.log.jsonl") if "loss" in line]
    assert [line["step"] for line in log] == [10, 12]
    for name in ("loss", "rate"):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert shown == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in log]


def test_the_package_for_tensorboard_is_named(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingBackend, match=r"tiledseg\[train\]"):
        train(values(run={"tensorboard": True}), tmp_path / "m")
