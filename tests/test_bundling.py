"""The examples that make and show the bundled models."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from tiledseg.models import find_card
from tiledseg.training import Recipe

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("name", ["aerial-landcover", "hippocampus-mr"])
def test_a_recipe_is_that_of_the_model(name: str) -> None:
    recipe, card = Recipe.read(EXAMPLES / f"{name}.yaml"), find_card(name)
    assert (recipe.name, recipe.licence) == (card.name, card.licence)
    assert recipe.network.architecture == card.architecture
    assert recipe.data.steps == card.normalization
    assert f"steps: {recipe.run.steps} of {recipe.run.steps}" in card.provenance


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_parts_are_joined_where_they_belong(tmp_path: Path) -> None:
    ramp = np.arange(120 * 90).reshape(120, 90) * 255.0 / (120 * 90)
    scene = np.repeat(ramp.astype(np.uint8)[..., None], 3, 2)
    (tmp_path / "images").mkdir()
    rows, columns = (0, 39, 80, 120), (0, 30, 61, 90)
    for part in range(9):
        row, column = divmod(part, 3)
        box = slice(*rows[row : row + 2]), slice(*columns[column : column + 2])
        path = tmp_path / f"images/image_part_{part + 1:03}.jpg"
        Image.fromarray(scene[box]).save(path, quality=100)
    example = runpy.run_path(str(EXAMPLES / "aerial_mosaic.py"))
    example["join"](tmp_path, tmp_path / "scene.tif")
    with rasterio.open(tmp_path / "scene.tif") as made:
        joined = made.read().transpose(1, 2, 0)
    assert np.abs(joined.astype(int) - scene).max() <= 3
