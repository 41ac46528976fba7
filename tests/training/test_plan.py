"""``tiledseg plan-training``: nnU-Net's rules, the budgets, and a YAML that reads back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.files import write_raster, write_volume
from tiledseg import read_dataset
from tiledseg.cli import run
from tiledseg.datasets import take_census
from tiledseg.errors import BudgetExceeded, ConfigError
from tiledseg.models import create_model
from tiledseg.training import PlannedRecipe, Recipe, plan_training
from tiledseg.training._fingerprint import target_spacing
from tiledseg.training._topology import topology

CONFIGS = Path(__file__).parents[2] / "configs" / "datasets"


# --------------------------------------------------------------------- nnU-Net's own plans


def test_the_hippocampus_plan_of_nnunet() -> None:
    """Task04's plan: patch 40 x 56 x 40, three poolings along every axis, 3 x 3 x 3 kernels."""
    found = topology((36, 50, 35), (1, 1, 1))
    assert found.window == (40, 56, 40)
    assert found.strides == ((1, 1, 1), *((2, 2, 2),) * 3)
    assert set(found.kernels) == {(3, 3, 3)}
    assert found.features(32) == (32, 64, 128, 256)


def test_the_prostate_plan_of_nnunet() -> None:
    """Task05's plan: patch 20 x 320 x 256 at 3.6 x 0.625 mm pools 2, 6 and 6 times."""
    found = topology((20, 320, 256), (3.6, 0.625, 0.625))
    assert found.window == (20, 320, 256)
    plane, all_axes = (1, 2, 2), (2, 2, 2)
    assert found.strides[1:] == (plane, plane, all_axes, all_axes, plane, plane)
    assert found.kernels == ((1, 3, 3), (1, 3, 3), *((3, 3, 3),) * 5)
    assert found.features(32) == (32, 64, 128, 256, 320, 320, 320)


def test_a_single_axis_is_pooled_from_12_samples_on() -> None:
    """By the rule of nnU-Net's `get_pool_and_conv_props`."""
    assert topology((7, 12), (1, 1)).strides == ((1, 1), (1, 2))
    assert topology((7, 11), (1, 1)).strides == ((1, 1),)
    assert topology((16, 44), (1, 1)).strides == ((1, 1), (2, 2), (2, 2))
    assert topology((16, 45), (1, 1)).strides == ((1, 1), (2, 2), (2, 2), (1, 2))


def test_target_spacing() -> None:
    shapes = np.array([[40, 512, 512]] * 11, float)
    spacings = np.array([[1 + 0.5 * i, 0.8, 0.8] for i in range(11)])
    target, why = target_spacing(spacings, shapes)
    assert target.tolist() == [1.5, 0.8, 0.8]  # the median 3.5 is too coarse: 10th percentile
    assert "10th percentile" in why
    assert target_spacing(spacings / [[2, 1, 1]], shapes)[0].tolist() == [1.75, 0.8, 0.8]
    many = np.array([[400, 512, 512]] * 11, float)  # coarse, but with many samples
    assert target_spacing(spacings, many)[0].tolist() == [3.5, 0.8, 0.8]
    even = np.array([[3, 0.9, 0.9]] * 10 + [[0.1, 0.9, 0.9]] * 3)
    assert target_spacing(even, np.array([[40, 512, 512]] * 13, float))[0][0] == 0.9


@given(
    window=st.lists(st.integers(1, 600), min_size=2, max_size=3),
    spacing=st.lists(st.floats(0.1, 10), min_size=3, max_size=3),
)
def test_windows_are_multiples_of_what_is_pooled(window: list[int], spacing: list[float]) -> None:
    found = topology(window, spacing[: len(window)])
    for axis, n in enumerate(window):
        multiple = prod(s[axis] for s in found.strides)
        assert found.window[axis] % multiple == 0
        assert n <= found.window[axis] < n + multiple
        assert found.window[axis] // multiple >= min(n, 4)
        reach = [k[axis] for k in found.kernels]
        assert reach == sorted(reach)
    assert len(found.kernels) == len(found.strides)


@settings(max_examples=8, deadline=None)
@given(
    shape=st.sampled_from(
        [((20, 64, 40), (3.0, 1.0, 1.0)), ((16, 16, 16), (1, 1, 1)), ((64, 96), (1, 1))]
    ),
    width=st.sampled_from([4, 6]),
    channels=st.integers(1, 3),
)
def test_costs_are_those_of_the_network(
    shape: tuple[tuple[int, ...], tuple[float, ...]], width: int, channels: int
) -> None:
    """Weights as the network has them, products as torch counts them (biases and norms apart)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    found = topology(*shape)
    arguments = found.architecture(width, "batch")
    dims = len(found.window)
    network = create_model(
        arguments.pop("name"), channels=channels, classes=3, dims=dims, **arguments
    ).eval()
    cost = found.cost(width, channels, 3)
    real = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    assert cost.weights == pytest.approx(16 * real, rel=0.01)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, channels, *found.window))
    assert 2 * cost.products == pytest.approx(counter.get_total_flops(), rel=0.05)


# --------------------------------------------------------------------- recipes


def volumes(folder: Path, head: str, values: tuple[float, float] = (0, 1), count: int = 6) -> Path:
    rng = np.random.default_rng(4)
    cases = []
    for i in range(count):
        shape = tuple(rng.integers(30, 40, 3))
        image = rng.normal(*values, size=shape).astype(np.float32)
        labels = np.zeros(shape, np.uint8)
        labels[8:20, 8:20, 8:20] = 1
        write_volume(folder / f"{i}.nii.gz", image + 100 * labels.astype(np.float32))
        write_volume(folder / f"{i}_l.nii.gz", labels)
        cases.append({"image": f"{i}.nii.gz", "labels": f"{i}_l.nii.gz"})
    (folder / "body.yaml").write_text(
        f"classes: [back, organ]\nbackground: back\n{head}cases: {json.dumps(cases)}\n"
    )
    return folder / "body.yaml"


def rasters(folder: Path, head: str = "") -> Path:
    rng = np.random.default_rng(4)
    cases = []
    for name in "abc":
        write_raster(folder / f"{name}.tif", rng.integers(50, 99, (4, 700, 650), dtype=np.uint16))
        write_raster(folder / f"{name}_l.tif", rng.integers(0, 2, (700, 650), dtype=np.uint8))
        cases.append({"image": f"{name}.tif", "labels": f"{name}_l.tif"})
    (folder / "land.yaml").write_text(f"classes: [x, y]\n{head}cases: {json.dumps(cases)}\n")
    return folder / "land.yaml"


def at(seconds: float) -> Any:
    """Return a speed: seconds per patch of any network."""

    def speed(
        architecture: Mapping[str, Any], window: tuple[int, ...], channels: int, classes: int
    ) -> float:
        return seconds

    return speed


def planned(
    path: Path, memory: float = 6e9, minutes: float = 60, seconds: float = 0.05
) -> PlannedRecipe:
    dataset = read_dataset(path)
    home = path.parent
    return plan_training(dataset, take_census(dataset), memory, minutes, home, at(seconds))


def test_the_yaml_reads_back_and_gives_reasons(tmp_path: Path) -> None:
    found = planned(volumes(tmp_path, "modality: mr\nlicence: MIT\n"))
    path = tmp_path / "recipe.yaml"
    path.write_text(found.to_yaml())
    values = yaml.safe_load(path.read_text())
    assert Recipe.parse(values) == found.recipe
    assert Path(Recipe.read(path).data.dataset) == tmp_path / "body.yaml"
    assert found.recipe.licence == "MIT"
    text = path.read_text()
    assert "nnU-Net" in text
    assert "nnU-\n" not in text
    for key in ("spacing", "normalization", "architecture", "window", "batch", "shares", "steps"):
        before = text.split(f"  {key}:")[0].rstrip().split("\n")[-1]
        assert before.strip().startswith("# "), key
    for path_ in found.reasons:
        section, _, key = path_.rpartition(".")
        assert key in (values[section] if section else values) or key in ("licence",), path_


def test_a_recipe_for_mr(tmp_path: Path) -> None:
    recipe = planned(volumes(tmp_path, "modality: mr\n")).recipe
    assert recipe.data.spacing == (1, 1, 1)
    assert recipe.data.orientation == "SPL"
    assert recipe.data.folds == 5
    assert recipe.data.normalization == ({"kind": "scene_score", "exact": True},)
    assert recipe.network.architecture["norm"] == "instance"
    assert recipe.network.architecture["features"][0] == 32
    assert set(recipe.patches.window) <= {32, 40}
    assert recipe.patches.shares == {"organ": pytest.approx(1 / 3, abs=1e-3)}
    assert recipe.augment.flips == "all"


def test_a_recipe_for_ct_clips_to_percentiles_of_the_foreground(tmp_path: Path) -> None:
    recipe = planned(volumes(tmp_path, "modality: ct\n", (-60, 10))).recipe
    clip, standard = recipe.data.normalization
    rng = np.random.default_rng(0).normal(40, 10, 10**6)
    low, high = np.percentile(rng, (0.5, 99.5))
    assert clip["low"][0] == pytest.approx(low, abs=1.5)
    assert clip["high"][0] == pytest.approx(high, abs=1.5)
    assert standard["mean"][0] == pytest.approx(40, abs=0.5)
    assert standard["std"][0] == pytest.approx(10, abs=0.5)


def test_a_recipe_for_scenes(tmp_path: Path) -> None:
    recipe = planned(rasters(tmp_path)).recipe
    assert recipe.data.spacing == (2, 2)
    assert recipe.data.orientation is None
    assert recipe.data.folds == 3
    (standard,) = recipe.data.normalization
    assert standard["mean"] == pytest.approx([74] * 4, abs=0.5)
    assert recipe.network.architecture["norm"] == "batch"
    assert recipe.patches.shares == {"x": 0.25, "y": 0.25}
    assert recipe.augment.quarter_turns
    photo = planned(rasters(tmp_path, "modality: photo\n")).recipe
    assert photo.augment.flips == (1,)
    assert not photo.augment.quarter_turns


def test_a_split_of_its_own_is_kept(tmp_path: Path) -> None:
    recipe = planned(rasters(tmp_path, "split: {validation: [b]}\n")).recipe
    assert recipe.data.folds is None


def validations(found: PlannedRecipe) -> int:
    """Return how often the held-out cases are segmented: every so many steps, and at the end."""
    run = found.recipe.run
    assert run.validate is not None
    return -(-run.steps // run.validate)


def test_validations_take_a_small_share_of_the_time(tmp_path: Path) -> None:
    """A third of three scenes is held out; a window of them takes as long as a patch."""
    rows = []
    for name in "abc":
        values = np.kron(np.eye(10, dtype=np.uint8), np.ones((300, 280), np.uint8))
        write_raster(tmp_path / f"{name}.tif", values)
        rows.append({"image": f"{name}.tif", "labels": f"{name}.tif"})
    (tmp_path / "land.yaml").write_text(f"classes: [x, y]\ncases: {json.dumps(rows)}\n")
    found = []
    for minutes in (5, 20, 40, 600):
        plan = planned(tmp_path / "land.yaml", 6e9, minutes, 0.5)
        run, patches, times = plan.recipe.run, plan.recipe.patches, validations(plan)
        windows = 3000 * 2800 * (4 / 3) ** 2 / prod(patches.window)
        one = windows * 0.7 * 60 * minutes / run.steps / patches.batch
        assert times == 1 or times * one <= 0.151 * 60 * minutes
        assert times == 10 or (times + 2) * one > 0.15 * 60 * minutes
        assert plan.reasons["run.validate"].startswith(
            "at the end only" if times == 1 else f"{times} times"
        )
        found.append(times)
    assert found[0] < found[-1] == 10


def test_budgets_decide(tmp_path: Path) -> None:
    """Less time or memory: a narrower network or a smaller window; more of neither is used."""
    path = rasters(tmp_path)
    plenty = planned(path, 64e9, 600)
    fast = planned(path, 6e9, 60, 0.5)
    slow = planned(path, 6e9, 10, 0.5)
    small = planned(path, 1.7e9, 600)
    sizes = [p.recipe.network.architecture["features"][0] for p in (plenty, fast, slow, small)]
    assert sizes[0] == 32 >= sizes[1] >= sizes[2]
    assert plenty.recipe.run.steps > fast.recipe.run.steps >= 1
    hurried = planned(path, 6e9, 0.2, 0.5)
    assert hurried.recipe.run.steps < hurried.recipe.run.validate == 100  # at its end only
    assert validations(plenty) == 10
    product = [
        prod(p.recipe.patches.window) * s for p, s in zip((plenty, slow), sizes, strict=False)
    ]
    assert product[0] > product[1]
    with pytest.raises(BudgetExceeded, match="the smallest network needs"):
        planned(path, 2e8)
    with pytest.raises(ConfigError, match="must be positive"):
        planned(path, 6e9, 0)


def test_what_cannot_be_learned_is_told(tmp_path: Path) -> None:
    path = volumes(tmp_path, "", count=2)
    path.write_text(path.read_text().replace('"0.nii.gz"', '["0.nii.gz", "0.nii.gz"]'))
    with pytest.raises(ConfigError, match="several numbers of axes and channels"):
        planned(path)
    other = tmp_path / "other"
    other.mkdir()
    path = volumes(other, "ignore: [1]\nlegend: {0: back}\n", count=2)
    with pytest.raises(ConfigError, match="no sample of any class but the background"):
        planned(path)


def test_the_command_keeps_a_recipe_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiledseg.cli._progress._LINE_EVERY", 0.0)
    path, out = volumes(tmp_path, "modality: mr\n", count=2), tmp_path / "recipe.yaml"
    command = ["plan-training", str(path), "--out", str(out), "--minutes", "1", "--memory", "3GB"]
    assert run(command) == 0
    told = capsys.readouterr()
    assert str(out) in told.out
    assert re.findall(r"(\d+)% done, about \d+ s left", told.err) == ["33", "67", "67"]
    recipe = Recipe.read(out)
    assert recipe.data.folds == 2
    out.write_text("mine")
    assert run(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert run([*command, "--fresh"]) == 0
    assert Recipe.read(out).patches == recipe.patches


@pytest.mark.data
@pytest.mark.parametrize(("name", "window"), [("dubai", None), ("hippocampus", (40, 56, 40))])
def test_recipes_of_the_configs(
    name: str, window: tuple[int, ...] | None, data: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILEDSEG_DATA", str(data))
        out = tmp_path / f"{name}.yaml"
        dataset = read_dataset(CONFIGS / f"{name}.yaml")
        found = plan_training(dataset, take_census(dataset), 6e9, 60, tmp_path, at(0.3))
        out.write_text(found.to_yaml())
        recipe = Recipe.read(out)
        assert len(read_dataset(recipe.data.dataset)) == len(dataset)
    assert recipe.data.folds == 5
    assert window is None or recipe.patches.window == window
    assert recipe.run.steps >= 500
    if name == "dubai":
        assert len(recipe.data.normalization[0]["mean"]) == 3


def test_what_is_kept_for_the_test_tells_a_plan_nothing(tmp_path: Path) -> None:
    """A test case of other intensities changes neither normalisation nor the digest."""
    texts = []
    for offset in (0, 1000):
        folder = tmp_path / str(offset)
        folder.mkdir()
        cases = []
        for number, split in enumerate(("train", "val", "TEST")):
            rng = np.random.default_rng(number)
            bright = offset if split == "TEST" else 0
            image = rng.integers(50, 99, (1, 64, 64), dtype=np.uint16) + np.uint16(bright)
            write_raster(folder / f"{number}.tif", image)
            write_raster(folder / f"{number}_l.tif", rng.integers(0, 2, (64, 64), dtype=np.uint8))
            cases.append({"image": f"{number}.tif", "labels": f"{number}_l.tif", "split": split})
        (folder / "set.yaml").write_text(f"classes: [x, y]\ncases: {json.dumps(cases)}\n")
        out = folder / "recipe.yaml"
        command = ["plan-training", str(folder / "set.yaml"), "--out", str(out), "--minutes", "1"]
        assert run(command) == 0
        values = yaml.safe_load(out.read_text())
        (content,) = (line for line in out.read_text().splitlines() if "Content:" in line)
        texts.append((values["data"]["normalization"], content))
    assert texts[0] == texts[1]
    assert "2 labelled cases of 2 groups" in out.read_text()
