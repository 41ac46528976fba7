"""Every config in configs/ is valid, and plans on an image of its model's kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiledseg
from tiledseg.models import read_card

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
CARDS = sorted((ROOT / "configs" / "models").glob("*.yaml"))


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_card(path: Path) -> None:
    card = read_card(path)
    assert card.licence
    assert card.provenance
    assert card.sha256


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_plans(
    path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = tiledseg.RunConfig.read(path)
    assert config.out
    if "models/" in config.model and "demo" not in config.model:
        request.getfixturevalue("data")
    card = tiledseg.load_model(config.model).card
    image = np.zeros((len(card.channels), *(300 if card.dims == 2 else 200,) * card.dims), np.uint8)
    job = tiledseg.plan(image, config.model, tiling=config.tiling)
    with job:
        assert job.plan.planned >= 1
        assert job.plan.window[0] <= 512


def test_config_round_trip() -> None:
    config = tiledseg.RunConfig.read(CONFIGS[0])
    import yaml

    assert tiledseg.RunConfig.parse(yaml.safe_load(config.to_yaml())) == config


def test_schema_names_every_section() -> None:
    schema = tiledseg.RunConfig.schema_text()
    for section in ("tiling", "runtime", "budget", "output", "input"):
        assert f'"{section}"' in schema
