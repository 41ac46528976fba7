"""The models that come with the package: small, licensed, found by name, as good as they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import tiledseg
from tiledseg.cli import run
from tiledseg.errors import ConfigError
from tiledseg.models import bundled_models, find_card, load_model, model_files

NAMES = ("aerial-landcover", "cloud-mask", "hippocampus-mr")
#: Colours of the masks of the Dubai scenes, in the order of the classes.
COVERS = ("3C1098", "8429F6", "6EC1E4", "FEDD3A", "E2A929")


def test_these_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert bundled_models() == NAMES
    assert run(["models"]) == 0
    told = capsys.readouterr().out
    assert "bundled models" in told
    assert run(["models", "--bundled", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert tuple(row["name"] for row in rows) == NAMES
    assert all(row["licence"] for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_says_what_it_is(name: str) -> None:
    card, files = find_card(name), model_files(Path(name))
    assert sum(file.stat().st_size for file in files) < 3e6
    assert card.name == name
    assert card.sha256 is not None
    assert load_model(name, threads=1).card.schema == card.schema
    if name == "cloud-mask":
        assert "MIT License" in (files[0].parent / "LICENSE").read_text()
        return
    for told in (f"tiledseg train examples/{name}.yaml", "seed: 0", "licence of the data"):
        assert told in card.provenance
    if name == "hippocampus-mr":
        assert card.licence == "CC-BY-SA-4.0"
        assert "Medical Segmentation Decathlon" in card.provenance


def test_a_name_is_looked_for_in_the_working_folder_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_card("cloud-mask").name == "cloud-mask"
    Path("cloud-mask").mkdir()
    with pytest.raises(ConfigError, match="no model card"):
        find_card("cloud-mask")
    with pytest.raises(ConfigError, match=f"there is no model at clouds; .*{', '.join(NAMES)}"):
        find_card("clouds")
    with pytest.raises(ConfigError, match="there is no model at"):
        find_card("../cloud-mask")


@pytest.mark.data
def test_a_photo_by_name(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crop of a scene that was learned from, so it must beat the most frequent class."""
    monkeypatch.chdir(tmp_path)
    part = data / "geo/dubai_landcover/tile_4"
    corner = (0, 0, 512, 384)
    Image.open(part / "images/image_part_005.jpg").crop(corner).save("photo.png")
    assert run(["segment", "photo.png", "-m", "aerial-landcover", "-o", "map.tif", "-q"]) == 0
    told = json.loads(Path("map.report/report.json").read_text())
    assert "amounts are in samples" in told["ran"]["georeference"]  # a photo lies nowhere
    mask = Image.open(part / "masks/image_part_005.png").convert("RGB").crop(corner)
    colors = np.array([list(bytes.fromhex(color)) for color in COVERS])
    same = (np.asarray(mask)[..., None, :] == colors).all(-1)
    known, truth = same.any(-1), same.argmax(-1)
    with tiledseg.open_source("map.tif") as made:
        right = (made.read(made.grid.box)[0] == truth)[known].mean()
    assert right > 1.15 * np.bincount(truth[known]).max() / known.sum()


@pytest.mark.data
def test_the_held_out_scene_comes_out_as_the_card_says(data: Path) -> None:
    """Four of the nine parts of tile_5, every fourth sample; the card has all of them."""
    card = find_card("aerial-landcover")
    (told,) = re.findall(r"tile_5 +([\d.]+)", card.provenance)
    assert "held-out groups: tile_5" in card.provenance
    model = tiledseg.load_model("aerial-landcover", threads=1)
    colors = np.array([list(bytes.fromhex(color)) for color in COVERS])
    right = known = 0
    for part in (2, 4, 6, 8):
        name = f"geo/dubai_landcover/tile_5/{{}}/image_part_00{part}.{{}}"
        image = np.asarray(Image.open(data / name.format("images", "jpg")).convert("RGB"))
        mask = Image.open(data / name.format("masks", "png")).convert("RGB")
        found = model.predict(image.transpose(2, 0, 1), runtime={"threads": 1})[::2, ::2]
        same = (np.asarray(mask)[::2, ::2, None] == colors).all(-1)
        right += (same.argmax(-1) == found)[same.any(-1)].sum()
        known += same.any(-1).sum()
    assert right / known == pytest.approx(float(told), abs=0.03)


@pytest.mark.data
def test_held_out_volumes_come_out_as_the_card_says(data: Path) -> None:
    """Five of the 40 cases that the card lists; their mean Dice is near that of all."""
    card = find_card("hippocampus-mr")
    listed = card.provenance.split("held-out cases:")[1].split("trained by")[0]
    held = re.findall(r"hippocampus_\d{3}", listed)
    assert len(set(held)) == 40
    told = re.search(
        r"mean Dice over cases: anterior ([\d.]+), posterior ([\d.]+)", card.provenance
    )
    assert told is not None
    model = tiledseg.load_model("hippocampus-mr", threads=1)
    folder, found = data / "medical/msd_hippocampus", []
    for name in sorted(set(held))[::8]:
        truth = np.asarray(nibabel.load(folder / f"labels/{name}.nii.gz").dataobj)
        labels = model.predict(folder / f"images/{name}.nii.gz").T  # (z, y, x) to nibabel's order
        pairs = [(labels == one, truth == one) for one in (1, 2)]
        found.append([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs])
    np.testing.assert_allclose(np.mean(found, 0), [float(n) for n in told.groups()], atol=0.02)


@pytest.mark.data
@pytest.mark.parametrize("scene", ["sentinel2", "landsat7"])
def test_clouds_are_those_of_the_published_network(data: Path, scene: str) -> None:
    image = np.load(data / f"geo/cloud_csmask/{scene}.npz")["img"].transpose(2, 0, 1)
    stored = np.load(data / f"models/cloud_unet/expected/rgbiswir_{scene}.npz")
    clouds = np.unpackbits(stored["mask_gt_0_5"])[: 512 * 512].reshape(512, 512)
    found = tiledseg.load_model("cloud-mask", threads=1).predict(image, runtime={"threads": 1})
    np.testing.assert_array_equal(found, clouds)
