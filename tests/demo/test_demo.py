"""The demo's images are reproducible, and the bundled models know unseen ones."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import yaml

import tiledseg
from tiledseg.demo import (
    COVERS,
    DEMO_SEED,
    MODELS,
    ORGANS,
    TRAINING_SEEDS,
    _run,
    make_phantom,
    make_scene,
)

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_demo_is_not_trained_on() -> None:
    assert DEMO_SEED not in TRAINING_SEEDS


def test_same_seed_same_bytes() -> None:
    a, b, c = make_scene(1, 200), make_scene(1, 200), make_scene(2, 200)
    assert a.image.tobytes() == b.image.tobytes()
    assert a.image.tobytes() != c.image.tobytes()
    p, q = make_phantom(1, (20, 40, 50)), make_phantom(1, (20, 40, 50))
    assert p.image.tobytes() == q.image.tobytes()
    assert p.grid == q.grid


def test_all_classes_and_nodata_occur() -> None:
    scene = make_scene(DEMO_SEED, 1024)
    assert set(np.unique(scene.truth)) == set(range(len(COVERS)))
    assert 0 < (~scene.valid).mean() < 0.2
    assert (scene.image[:, ~scene.valid] == 0).all()
    assert (scene.image[:, scene.valid] > 0).all()
    phantom = make_phantom(DEMO_SEED)
    assert set(np.unique(phantom.truth)) == set(range(len(ORGANS)))
    assert phantom.grid.orientation == "SPL"


def test_land_cover_of_an_unseen_scene() -> None:
    scene = make_scene(9001, 768)
    labels = tiledseg.load_model(MODELS / "scene").predict(scene.image)
    right = (labels == scene.truth)[scene.valid].mean()
    assert right > 0.95


@pytest.mark.slow
def test_organs_of_an_unseen_phantom() -> None:
    phantom = make_phantom(9001)
    labels = tiledseg.load_model(MODELS / "organs").predict(phantom.image)
    for organ in range(1, len(ORGANS)):
        a, b = labels == organ, phantom.truth == organ
        dice = 2 * (a & b).sum() / (a.sum() + b.sum())
        assert dice > 0.75, ORGANS[organ]


def test_the_demo_measures_and_leaves_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_run, "_MEMORY", "8GB")  # what other tests left in this process counts
    monkeypatch.setattr(_run, "make_scene", lambda seed: make_scene(seed, 256))
    monkeypatch.setattr(_run, "make_phantom", lambda seed: make_phantom(seed, (24, 64, 64)))
    said: list[str] = []
    _run.run(tmp_path, said.append)
    told = "\n".join(said)
    assert "grassland" in told
    assert "spleen" in told
    scene = make_scene(DEMO_SEED, 256)
    with tiledseg.open_source(tmp_path / "landcover.truth.tif") as truth:
        box = truth.grid.box
        np.testing.assert_array_equal(truth.valid(box), scene.valid)
        np.testing.assert_array_equal(truth.read(box)[0][scene.valid], scene.truth[scene.valid])
    found = tiledseg.evaluate(tmp_path / "landcover.tif", tmp_path / "landcover.truth.tif")
    assert found.overall["accuracy"] > 0.9


@pytest.mark.parametrize("name", ["scene", "organs"])
def test_the_recipe_is_that_of_the_model(tmp_path: Path, name: str) -> None:
    """The example's images and two steps of the recipe give a model like the demo's own."""
    example = runpy.run_path(str(EXAMPLES / "demo_data.py"))
    data = tmp_path / "demo-data"
    example["write_scenes"](data / "scenes", 5, 128)
    example["write_phantoms"](data / "organs", 5, (64, 64, 64))
    told = yaml.safe_load((EXAMPLES / f"demo-{name}.yaml").read_text())
    told["data"]["dataset"] = str(data / told["data"]["dataset"].split("demo-data/")[1])
    told["run"]["steps"], told["patches"]["batch"] = 2, 1
    made = tiledseg.train(told, tmp_path / "m", threads=1).card
    own = tiledseg.load_model(MODELS / name).card
    assert (made.name, made.licence, made.schema) == (own.name, own.licence, own.schema)
    assert (made.spacing, made.orientation) == (own.spacing, own.orientation)
    assert len(made.channels) == len(own.channels)  # a NIfTI does not say what was measured
    assert made.architecture == own.architecture
    assert made.normalization == own.normalization
