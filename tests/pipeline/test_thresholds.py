"""A class counts where its score reaches its threshold: brute force on the scores of the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiledseg
from tests.engine.images import blocky
from tests.pipeline.test_resume import write_scene
from tiledseg.box import Box
from tiledseg.cli import run
from tiledseg.engine._device_ring import DeviceRing
from tiledseg.engine._host_ring import HostRing
from tiledseg.errors import ConfigError, PlanChanged
from tiledseg.grid import Grid
from tiledseg.io import open_source
from tiledseg.labels import ClassSchema
from tiledseg.models import card_from_dict, card_to_dict, find_card
from tiledseg.planning import ModelShape, make_plan
from tiledseg.tiling import TilingSpec

MakeModel = Callable[..., Path]
NAMES = ["rest", "a", "b", "c"]
KINDS: dict[str, dict[str, Any]] = {
    "softmax": {"schema": ClassSchema.of_names(NAMES, 0)},
    "no background": {"schema": ClassSchema.of_names(NAMES)},
    "sigmoid": {"schema": ClassSchema.of_names(NAMES, 0), "activation": "sigmoid"},
    "painted": {"schema": ClassSchema.of_names(NAMES, 0), "activation": "sigmoid", "painted": True},
    "single": {
        "schema": ClassSchema.of_names(NAMES[:2], 0),
        "activation": "sigmoid",
        "single_output": True,
    },
    "half": {"schema": ClassSchema.of_names(NAMES, 0), "tiling": TilingSpec(taper="nnunet")},
    "half painted": {
        "schema": ClassSchema.of_names(NAMES, 0),
        "tiling": TilingSpec(taper="nnunet"),
        "activation": "sigmoid",
        "painted": True,
    },
}


def expected(kind: str, scores: np.ndarray, thresholds: dict[str, float]) -> np.ndarray:
    """Decide sample by sample, as the documentation says."""
    schema = KINDS[kind]["schema"]
    least = {schema.find(n, "it"): np.float32(t) for n, t in thresholds.items()}
    found = np.empty(scores.shape[1:], np.uint8)
    alone = "painted" in kind or kind == "single"
    for at in np.ndindex(found.shape):
        own = scores[(slice(None), *at)]
        if alone:
            label = 0
            for channel, score in enumerate(own, 1):
                if score >= least[channel] if channel in least else score > 0.5:
                    label = channel
        else:
            counting = [c for c, score in enumerate(own) if score >= least.get(c, -np.inf)]
            nothing = 255 if schema.background is None else schema.background
            label = min(counting, key=lambda c: (-own[c], c), default=nothing)
        found[at] = label
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_any_tiling_gives_the_labels_of_brute_force(
    kind: str, make_model: MakeModel, tmp_path: Path
) -> None:
    image, model = blocky((70, 62)), make_model(**KINDS[kind])
    plain = tmp_path / "plain.tif"
    settings: dict[str, Any] = {"runtime": {"threads": 1}}
    output = {"scores": str(tmp_path / "s.zarr"), "score_type": "float32", "report": False}
    tiledseg.segment(image, model, plain, **settings, output=output)
    with open_source(tmp_path / "s.zarr") as source:
        scores = source.read(source.grid.box)
    middle = float(np.median(scores[-1]))  # a score that occurs: it reaches itself
    thresholds = {"a": middle} if kind == "single" else {"a": 0.7, "c": middle, "b": 0.9}
    if kind in ("no background", "softmax"):
        thresholds["rest"] = 0.6
    wanted = expected(kind, scores, thresholds)
    for core in ((70, 62), (32, 48)):
        found = tiledseg.segment(
            image, model, tiling={"core": core}, output={"thresholds": thresholds}, **settings
        ).array
        assert found is not None
        np.testing.assert_array_equal(found, wanted)
    with open_source(plain) as source:
        assert (wanted != source.read(source.grid.box)[0]).mean() > 0.001
    if kind == "no background":
        assert (wanted == 255).any()


@pytest.mark.parametrize("case", ["best", "painted", "single"])
def test_a_gpu_decides_as_the_host(case: str) -> None:
    spec = TilingSpec(window=(32, 32), stride=(16, 16))
    plan = make_plan(Grid.local((32, 32)), spec, ModelShape((32, 32), 2, True, 0), 1, 1)
    outputs = 1 if case == "single" else 3
    raw = torch.randn((outputs, 32, 32), generator=torch.Generator().manual_seed(1))
    labels = np.array([3, 5] if outputs == 1 else [3, 5, 7, 9], np.uint8)
    reached = np.array([0.8, 0.3, 0.1][:outputs], np.float32)
    found = []
    for kind in (HostRing, DeviceRing):
        sums = torch.from_numpy(np.zeros((outputs, 32, 32), np.float32))
        ring = kind(plan, Box((0, 0), (32, 32)), sums, "none", case == "painted")
        ring.reached = reached
        with ring:
            ring.add(raw, (0, 0))
            found.append(np.concatenate([final.labels for final in ring.take(0, 32, labels)]))
    np.testing.assert_array_equal(*found)
    assert len(np.unique(found[0])) == len(labels)


def test_a_card_wishes_and_the_user_decides(make_model: MakeModel, tmp_path: Path) -> None:
    image = blocky((60, 50))
    wishing = make_model(**KINDS["softmax"], thresholds={"a": 0.8})
    assert find_card(wishing).thresholds == {"a": 0.8}
    plain = make_model(**KINDS["softmax"])

    def made(model: Path, **output: Any) -> Any:
        return tiledseg.segment(image, model, output=output).array

    np.testing.assert_array_equal(made(wishing), made(plain, thresholds={1: 0.8}))
    np.testing.assert_array_equal(made(wishing, thresholds={}), made(plain))
    assert not np.array_equal(made(wishing), made(plain))


def test_the_option_and_another_threshold(
    make_model: MakeModel, tmp_path: Path, capsys: Any
) -> None:
    """Tiles that were made with others are refused."""
    model, out = make_model(**KINDS["softmax"]), tmp_path / "out.tif"
    scene = write_scene(tmp_path / "scene.tif", (90, 90))
    words = ["segment", str(scene), "-m", str(model), "-o", str(out), "-q"]
    assert run([*words, "--threshold", "a=0.8", "--threshold", "c=0.5"]) == 0
    given = {"thresholds": {"a": 0.8, "c": 0.5}}
    with open_source(out) as source:
        np.testing.assert_array_equal(
            source.read(source.grid.box)[0], tiledseg.segment(scene, model, output=given).array
        )
    assert run([*words, "--threshold", "water"]) == 2
    assert "write it like water=0.7, once for every class" in capsys.readouterr().err

    def stop(event: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment(scene, model, out, on_event=stop, output=given)
    with pytest.raises(PlanChanged, match=r"thresholds was \{'a': 0\.8, 'c': 0\.5\}, is \{'a'"):
        tiledseg.segment(scene, model, out, output={"thresholds": {"a": 0.8}})


@pytest.mark.parametrize(
    ("kind", "thresholds", "sentence"),
    [
        ("softmax", {"water": 0.5}, "model 'small' has no class 'water'; it has rest, a, b, c"),
        ("softmax", {"a": 1.5}, r"1\.5 of class 'a' is no score of .* above 0 and at most 1"),
        ("softmax", {"a": float("nan")}, "nan of class 'a' is no score"),
        (
            "painted",
            {"rest": 0.5},
            "class 'rest' .* has no score of its own, .* that of a, b, c",
        ),
        ("single", {"rest": 0.5}, "class 'rest' .* it is what the others leave; give that of a"),
    ],
)
def test_what_is_no_threshold_is_refused(
    make_model: MakeModel, kind: str, thresholds: dict[str, float], sentence: str
) -> None:
    model = make_model(**KINDS[kind])
    with pytest.raises(ConfigError, match=sentence):
        tiledseg.segment(blocky((60, 50)), model, output={"thresholds": thresholds})
    card = replace(find_card(model), thresholds=thresholds)
    with pytest.raises(ConfigError, match=rf"^card x: .*{sentence}"):
        card_from_dict(card_to_dict(card), "x")
