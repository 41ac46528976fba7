"""What a probe left beside a model: taken over where it makes sense, else ignored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiledseg.models import Probe, Reach, Runtime, Trial, find_card, find_probe, load_model

MakeModel = Callable[..., Path]


@pytest.fixture
def model(tmp_path: Path, make_model: MakeModel) -> Path:
    """Return a model of this test's own, whose card leaves open how far it looks."""
    return Path(shutil.copytree(make_model(locality="unknown", multiple=1), tmp_path / "model"))


def values_of(model: Path) -> dict[str, Any]:
    probe = Probe(
        sha256=find_card(model).sha256 or "",
        machine="this one",
        device="cpu",
        threads=1,
        versions={"torch": "2"},
        sample="noise",
        on_image=False,
        reach=Reach(4, "local", 5, 1e-3, (), True, 0.0),
        window=(64, 64),
        trials=(Trial(Runtime("torch"), 1, 0.1, 1.0), Trial(Runtime("openvino"), 1, 0.1, None)),
        best_window=(98, 96),
        best_stride=(80, 80),
        best_margin=5,
    )
    return dict(json.loads(json.dumps(probe.to_dict())))


def keep(model: Path, values: dict[str, Any]) -> None:
    (model / "model.probe.json").write_text(json.dumps(values))


def test_a_right_probe_completes_the_card(model: Path) -> None:
    keep(model, values_of(model))
    card = load_model(model).card
    assert (card.multiple, card.margin, card.locality) == (4, 5, "local")
    assert card.window == (100, 96)


WRONG = {
    "window of 1 axis": {"best_window": [64]},
    "window of 3 axes": {"best_window": [64, 64, 64]},
    "stride of 3 axes": {"best_stride": [64, 64, 64]},
    "huge window": {"best_window": [10**30, 10**30]},
    "window of truths": {"best_window": [True, True]},
    "window a text": {"best_window": "6464"},
    "no window": {"best_window": None},
    "huge multiple": {"reach": {"multiple": 10**9}},
    "huge radius": {"reach": {"radius": 10**40}},
    "radius a truth": {"reach": {"radius": True}},
    "no such locality": {"reach": {"locality": "near"}},
    "seconds a text": {"trials": {"seconds": "abc"}},
    "seconds no number": {"trials": {"seconds": float("nan")}},
    "agreement a text": {"trials": {"agreement": "abc"}},
    "agreement of 2": {"trials": {"agreement": 2.0}},
    "problem a number": {"trials": {"problem": 5}},
    "microbatch of 0": {"trials": {"microbatch": 0}},
    "no such runtime": {"trials": {"runtime": ["magic", "fp32"]}},
    "runtime of 3 parts": {"trials": {"runtime": ["torch", "fp32", "x"]}},
    "sample an object": {"sample": {"a": 1}},
    "versions a list": {"versions": [1]},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_ignored(model: Path, change: dict[str, Any]) -> None:
    values = values_of(model)
    for key, value in change.items():
        if key == "reach":
            values["reach"].update(value)
        elif key == "trials":
            values["trials"][0].update(value)
        else:
            values[key] = value
    keep(model, values)
    assert load_model(model).card.window == (64, 64)
    assert find_probe(model, values["sha256"]) is None


@pytest.mark.parametrize("text", ["", "[1]", "\x00\x01", "[" * 100_000])
def test_what_is_no_probe_is_ignored(model: Path, text: str) -> None:
    (model / "model.probe.json").write_text(text)
    assert load_model(model).card.multiple == 1


def test_a_probe_of_a_volume_completes_no_scene(model: Path) -> None:
    cube = {key: [64, 64, 64] for key in ("window", "best_window", "best_stride")}
    keep(model, {**values_of(model), **cube})
    assert load_model(model).card.multiple == 1
