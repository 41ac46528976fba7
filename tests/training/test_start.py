"""Trainings that learn on from a trained model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import tiledseg
from tests.training.conftest import TINY, write_dataset
from tiledseg.errors import ConfigError, DamagedInput, PlanChanged
from tiledseg.training import Options, Recipe, Trained, prepare_job, run_training

Values = Callable[..., dict[str, Any]]
#: A step so small that weights stay what they are.
STILL: dict[str, Any] = {"rate": 1e-12, "decay": 0.0}


def train(recipe: dict[str, Any], out: Path) -> Trained:
    return run_training(prepare_job(Recipe.parse(recipe)), out, Options(threads=1))


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Return what follows the gradient; norms keep figures of the images besides."""
    found = load_file(out / "weights.safetensors")
    kept = [k for k in found if "running" not in k and "tracked" not in k]
    return {k: found[k].clone() for k in kept}  # the file may change: it is mapped


def onward(values: Values, start: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    network = {"start": str(start), **sections.pop("network", {})}
    run = {"steps": 1, **sections.pop("run", {})}
    return values(network=network, run=run, optimizer=STILL, **sections)


@pytest.fixture
def start(values: Values, tmp_path: Path) -> Path:
    """A trained model of three classes and two channels."""
    recipe = {**values(run={"steps": 4}), "licence": "MIT"}
    return train(recipe, tmp_path / "start").folder


def test_a_training_begins_with_the_weights_of_its_start(
    values: Values, start: Path, tmp_path: Path
) -> None:
    made = train(onward(values, start, run={"seed": 7}), tmp_path / "on")
    before, after = weights(start), weights(made.folder)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)
    digest = tiledseg.load_model(start).card.sha256
    assert f"started from: trained, sha256 {digest}" in made.card.provenance
    assert "licence of the start: MIT" in made.card.provenance


def test_of_other_classes_only_what_depends_on_their_number_is_new(
    values: Values, start: Path, tmp_path: Path
) -> None:
    dataset = write_dataset(tmp_path / "two", classes=["ground", "rest"], ignore=[2, 200])
    recipe = onward(values, start, data={"dataset": str(dataset)})
    made = train(recipe, tmp_path / "on")
    before, after = weights(start), weights(made.folder)
    new = [k for k in before if before[k].shape != after[k].shape]
    assert new
    assert all(2 in after[k].shape and 3 in before[k].shape for k in new)
    kept = [k for k in before if k not in new]
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in kept)
    assert sum(before[k].numel() for k in kept) > 0.5 * sum(v.numel() for v in before.values())
    assert made.card.outputs == 2
    assert "outputs: begun anew" in made.card.provenance


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"network": {"architecture": {**TINY, "channels": [4, 6]}}},
            r"network\.start: .*\.architecture\.channels was \[4, 8\] and is \[4, 6\]; learn on",
        ),
        (
            {"data": {"normalization": [{"kind": "linear", "scale": [0.1], "offset": [0.0]}]}},
            r"data\.normalization is to be \[\{kind: scene_score[^'(]*\}\];",
        ),
        ({"network": {"encoder_weights": "w.pth"}}, "none beside network.encoder_weights"),
        ({"network": {"start": "nowhere"}}, "network.start: there is no model at .*nowhere"),
        ({"network": {"start": "https://a.b/c"}}, "what is elsewhere is fetched only when asked"),
        ({"network": {"start": "cloud-mask"}}, r"cloud-mask is .*network\.architecture\.name was"),
    ],
)
def test_another_network_is_refused(
    values: Values, start: Path, sections: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        prepare_job(Recipe.parse(onward(values, start, **sections)))


def test_other_channels_are_refused(values: Values, start: Path, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "one", channels=[1])
    recipe = onward(values, start, data={"dataset": str(dataset)})
    with pytest.raises(ConfigError, match=r"image\.channels was 2 and is 1"):
        prepare_job(Recipe.parse(recipe))


def test_the_same_classes_in_another_order_are_refused(
    values: Values, start: Path, tmp_path: Path
) -> None:
    """The outputs would stand for others."""
    dataset = write_dataset(tmp_path / "turned", classes=["water", "road", "ground"])
    recipe = onward(values, start, data={"dataset": str(dataset)})
    with pytest.raises(ConfigError, match=r"classes was \['ground', 'road', 'water'\] and is"):
        prepare_job(Recipe.parse(recipe))


def test_as_many_classes_of_other_names_take_the_outputs_over(
    values: Values, start: Path, tmp_path: Path
) -> None:
    dataset = write_dataset(tmp_path / "named", classes=["a", "b", "c"])
    made = train(onward(values, start, data={"dataset": str(dataset)}), tmp_path / "on")
    before, after = weights(start), weights(made.folder)
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)


def test_damaged_weights_are_refused(values: Values, start: Path) -> None:
    file = start / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DamagedInput, match=r"network\.start: "):
        prepare_job(Recipe.parse(onward(values, start)))


def test_a_training_goes_on_where_its_start_moved_but_not_with_another(
    values: Values, start: Path, tmp_path: Path
) -> None:
    train(onward(values, start), tmp_path / "on")
    moved = start.rename(tmp_path / "moved")
    assert train(onward(values, moved), tmp_path / "on").resumed == 1
    other = train(values(run={"steps": 2}), tmp_path / "other").folder
    with pytest.raises(PlanChanged, match="weights to start from were sha256"):
        train(onward(values, other), tmp_path / "on")


def test_what_is_refused_does_not_change_the_recipe_that_is_kept(
    values: Values, start: Path, tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(event: object) -> None:
        raise Stopped

    job = prepare_job(Recipe.parse(onward(values, start, run={"steps": 2})))
    with pytest.raises(Stopped):
        run_training(job, tmp_path / "on", Options(threads=1), on_event=stop)
    kept = next((tmp_path / "on").glob("**/recipe.yaml"))
    other = train(values(run={"steps": 2}), tmp_path / "other").folder
    changed = onward(values, other, run={"steps": 2})
    with pytest.raises(PlanChanged, match="weights to start from were"):
        train(changed, tmp_path / "on")
    assert Recipe.read(kept).network.start == str(start)


def test_a_start_is_named_from_the_recipe_or_by_a_bundled_name(
    values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundled name stays one where a training goes to a folder of that name."""
    monkeypatch.chdir(tmp_path)
    Path("cloud-mask").mkdir()
    path = tmp_path / "recipe.yaml"
    path.write_text(Recipe.parse(onward(values, Path("../start"))).to_yaml())
    assert Recipe.read(path).network.start == str(tmp_path.parent / "start")
    named = Recipe.read(path, ["network.start=cloud-mask"]).network.start
    assert named is not None
    assert tiledseg.load_model(named).card.name == "cloud-mask"


def test_a_start_is_not_trained_over(values: Values, start: Path) -> None:
    before = (start / "weights.safetensors").read_bytes()
    job = prepare_job(Recipe.parse(onward(values, start)))
    with pytest.raises(ConfigError, match="lies in the folder to train in: name another --out"):
        run_training(job, start, Options(threads=1, fresh=True))
    assert (start / "weights.safetensors").read_bytes() == before


def test_a_start_whose_files_lie_in_the_folder_is_not_trained_over(
    values: Values, start: Path, tmp_path: Path
) -> None:
    alias = tmp_path / "alias"
    alias.mkdir()
    for name in ("model.yaml", "weights.safetensors"):
        (alias / name).symlink_to(start / name)
    with pytest.raises(ConfigError, match="lies in the folder to train in"):
        train(onward(values, alias), start)
    assert (start / "weights.safetensors").is_file()


def test_what_was_checked_is_what_is_learned_on_from(
    values: Values, start: Path, tmp_path: Path
) -> None:
    """The card names weights that nobody may change between."""
    job = prepare_job(Recipe.parse(onward(values, start)))
    before = weights(start)
    train(values(run={"steps": 9}), tmp_path / "other")
    shutil.copy(tmp_path / "other/weights.safetensors", start / "weights.safetensors")
    after = weights(run_training(job, tmp_path / "on", Options(threads=1)).folder)
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)


def test_weights_with_their_axes_in_another_order_are_refused(values: Values, start: Path) -> None:
    card = yaml.safe_load((start / "model.yaml").read_text())
    (start / "model.yaml").write_text(yaml.safe_dump({**card, "sha256": None, "axes": [1, 0]}))
    with pytest.raises(ConfigError, match=r"card\.axes was \[1, 0\] and is None"):
        prepare_job(Recipe.parse(onward(values, start)))


def test_several_networks_are_refused(values: Values, start: Path) -> None:
    card = yaml.safe_load((start / "model.yaml").read_text())
    for fold in ("a", "b"):
        shutil.copy(start / "weights.safetensors", start / f"{fold}.safetensors")
    folds = ["a.safetensors", "b.safetensors"]
    (start / "model.yaml").write_text(yaml.safe_dump({**card, "sha256": None, "folds": folds}))
    with pytest.raises(ConfigError, match="is a graph, or several networks"):
        prepare_job(Recipe.parse(onward(values, start)))


def test_weights_that_depend_on_the_window_need_it(values: Values, tmp_path: Path) -> None:
    """UNETR learns a vector for every place in its window."""
    sizes = {"feature_size": 4, "hidden_size": 8, "mlp_dim": 8, "num_heads": 2}
    network: dict[str, Any] = {"architecture": {"name": "unetr", **sizes}}
    start = train(values(network=network, run={"steps": 1}), tmp_path / "start").folder
    wider = onward(values, start, network=network, patches={"window": [48, 48]})
    with pytest.raises(ConfigError, match=r"patches\.window was \[32, 32\] and is \[48, 48\]"):
        prepare_job(Recipe.parse(wider))
    again = train(onward(values, start, network=network), tmp_path / "on")
    before, after = weights(start), weights(again.folder)
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)
