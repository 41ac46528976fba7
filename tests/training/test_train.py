"""A training as a whole: kills, resuming, changes, what goes wrong, several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tiledseg.errors import ConfigError, OutputFailed, PlanChanged, TrainingFailed
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
    return lambda weights: (-float(sum(abs(v.float()).sum() for v in weights.values())), {})
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
    told = options.pop("told", None)
    return run_training(
        prepare_job(Recipe.parse(values)), out, Options(threads=1, **options), None, told
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def command(recipe: Path, out: Path) -> list[str]:
    script = recipe.with_name("run.py")
    script.write_text(_RUN)
    return [sys.executable, str(script), str(recipe), str(out)]


def written(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "train.yaml"
    path.write_text(Recipe.parse(values).to_yaml())
    return path


def until(process: subprocess.Popen[str], step: int) -> None:
    """Wait until a training has done so many steps."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line.split()[1]) >= step:
            return
    pytest.fail("it ended before")


def test_killed_at_any_moment_and_resumed_the_weights_are_the_same(
    values: Values, tmp_path: Path
) -> None:
    """Not one bit of difference: SIGKILL at several moments, then SIGTERM, then to the end."""
    recipe = written(values(**RICH), tmp_path)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    subprocess.run(command(recipe, whole), check=True, capture_output=True)
    for step, delay, number in [
        (4, 0.013, signal.SIGKILL),
        (20, 0.031, signal.SIGKILL),
        (36, 0.0, signal.SIGTERM),
    ]:
        asked = command(recipe, pieces)
        with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
            until(process, step)
            time.sleep(delay)
            process.send_signal(number)
            left = process.communicate()[0]
        assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
        if number == signal.SIGTERM:
            assert left.splitlines()[-1].startswith("Kept")
    subprocess.run(command(recipe, pieces), check=True, capture_output=True)
    assert same(whole, pieces)
    losses = [
        [line.get("loss") for line in read_log(f / "train.log.jsonl")] for f in (whole, pieces)
    ]
    assert len(losses[0]) == len(losses[1])
    assert sorted(p.name for p in (pieces / "training").iterdir()) == ["recipe.yaml"]


def test_another_seed_gives_other_weights(values: Values, tmp_path: Path) -> None:
    train(values(), tmp_path / "a")
    train(values(), tmp_path / "b")
    train(values(run={"seed": 1}), tmp_path / "c")
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_what_comes_out_is_a_model_that_says_where_it_comes_from(
    values: Values, tmp_path: Path
) -> None:
    made = train(values(), tmp_path / "m", command="tiledseg train recipe.yaml --out m")
    model = load_model(tmp_path / "m")
    assert model(torch.zeros(1, 2, 32, 32)).shape == (1, 3, 32, 32)
    told = model.card.provenance
    for part in (
        *("trained by tiledseg", "command: tiledseg train recipe.yaml --out m", "sha256"),
        *("licence of the data: CC0", "fold 1 of 4 by group", "held-out groups: scene_", "seed: 0"),
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
        train(values(), out, told=stop)
    with pytest.raises(PlanChanged, match=r"optimizer.rate was 0\.02 and is 0\.5"):
        train(values(optimizer={"rate": 0.5}), out)
    job = prepare_job(Recipe.parse(values()))
    other = prepare_job(Recipe.parse(values(data={"fold": 1})))
    object.__setattr__(other, "recipe", job.recipe)
    with pytest.raises(
        PlanChanged, match="the dataset is not the one that the training began with"
    ):
        run_training(other, out, Options(threads=1))
    assert train(values(optimizer={"rate": 0.5}), out, fresh=True).resumed == 0


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
        train(values(), tmp_path / "m", told=stop)
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
        def check(state: dict[str, torch.Tensor]) -> tuple[float, dict[str, Any]]:
            seen.append({k: v.clone() for k, v in state.items()})
            return next(scores), {"ground": {"dice": 0.5}}

        return check

    job = prepare_job(Recipe.parse(values(run={"validate": 2, "patience": 2})))
    made = run_training(job, tmp_path / "m", Options(threads=1), validate)
    assert (made.numbers.step, made.numbers.best_step, made.numbers.best) == (8, 4, 0.9)
    assert all(torch.equal(v, seen[1][k]) for k, v in weights(tmp_path / "m").items())
    assert "weights of step 4" in made.card.provenance
    assert "ground dice 0.5" in made.card.provenance


def test_two_processes_end_with_the_same_weights(values: Values, tmp_path: Path) -> None:
    """torch's own launcher, gloo: each takes half of every batch."""
    steps = {"run": {"steps": 30, "checkpoint": 30}, "patches": {"batch": 4}}
    recipe = written(values(**steps), tmp_path)
    script = tmp_path / "run.py"
    script.write_text(_RANKS + _RUN)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    asked = [sys.executable, *launcher, str(script), str(recipe), str(tmp_path / "m")]
    run = subprocess.run(
        asked, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
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


def test_the_package_for_tensorboard_is_named(values: Values, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    train(values(run={"tensorboard": True}), tmp_path / "m")
    assert list((tmp_path / "m" / "tensorboard").iterdir())
