"""A recipe: YAML both ways, defaults, and sentences for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiledseg.errors import ConfigError
from tiledseg.training import LOSSES, Recipe

LEAST: dict[str, Any] = {
    "data": {"dataset": "scenes.yaml"},
    "network": {"architecture": {"name": "unet"}},
    "patches": {"window": [64, 64]},
}


def with_(section: str, **values: Any) -> dict[str, Any]:
    return {**LEAST, section: {**LEAST.get(section, {}), **values}}


def test_yaml_goes_both_ways(tmp_path: Path) -> None:
    values = with_("loss", terms=dict.fromkeys(LOSSES, 0.5), class_weights={"water": 2.0})
    values["augment"] = {"flips": "all", "zoom": [0.8, 1.25], "quarter_turns": True}
    recipe = Recipe.parse(values)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    again = Recipe.read(file)
    assert again.data.dataset == str(tmp_path / "scenes.yaml")
    assert recipe.beside(tmp_path) == again
    assert Recipe.parse(recipe.to_dict()) == recipe
    assert recipe.to_dict()["patches"] == {"window": [64, 64]}


def test_the_schema_names_every_setting() -> None:
    schema = json.loads(Recipe.schema_text())
    assert set(schema["required"]) == {"data", "network", "patches"}
    assert set(schema["$defs"]["RunSpec"]["properties"]) >= {"steps", "seed", "checkpoint"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (with_("patches", windows=3), "recipe patches.windows: there is no such setting"),
        ({**LEAST, "patch": {}}, "recipe patch: there is no such setting"),
        ({"data": {"dataset": "a"}}, "recipe network: field required"),
        (with_("loss", terms={"dise": 1}), "recipe loss.terms.dise"),
        (with_("loss", terms={}), "loss.terms: expected at least one loss"),
        (with_("patches", shares={"a": 0.7, "b": 0.7}), "together at most 1"),
        (with_("patches", window=[0, 4]), "patches.window: expected 2 or 3 positive numbers"),
        (with_("patches", window=[64, 32]) | {"augment": {"quarter_turns": True}}, "square"),
        (with_("patches", cache="much"), "much"),
        (with_("augment", flips=[2]), "augment.flips: patches have axes 0 to 1"),
        (with_("augment", zoom=[2, 1]), "augment.zoom: expected two numbers"),
        (with_("data", spacing=[1.0]), "data.spacing: expected 2 numbers"),
        (with_("data", spacing=[1.0, -1.0]), "data.spacing: expected positive numbers"),
        (with_("data", fold=3), "data.fold: expected 0 to folds - 1, found 3"),
        (with_("data", normalization=[{"kind": "wow"}]), "unknown normalisation 'wow'"),
        (with_("optimizer", rate=float("nan")), "optimizer.rate: expected above 0, to 100"),
        (with_("run", steps=0), "run.steps: expected at least 1, found 0"),
        (with_("run", patience=3), "run.patience: expected none where run.validate is none"),
        (
            with_("loss", terms={"dice": 1}, class_weights={"a": 2.0}),
            "loss.class_weights: expected",
        ),
        (with_("loss", terms={"focal": 1}, smoothing=0.1), "loss.smoothing: expected none where"),
        (with_("network", architecture={}), "network.architecture: expected a name"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Recipe.parse(values)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("recipe ")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "data: *none"])
def test_a_file_that_is_no_recipe(text: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"recipe .*recipe\.yaml"):
        Recipe.read(file)


def test_what_changed_is_told() -> None:
    before, after = Recipe.parse(LEAST), Recipe.parse(with_("run", steps=7))
    assert before.changes(after) == ("run.steps was 1000 and is 7",)
    assert before.changes(before) == ()
    moved = Recipe.parse({**with_("run", checkpoint=9), "data": {"dataset": "elsewhere.yaml"}})
    assert before.changes(moved) == ()
