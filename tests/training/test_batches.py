"""Batches: what is drawn, and that it follows from seed and number alone."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import yaml

from tests.training.conftest import TINY, write_dataset
from tiledseg.box import Box
from tiledseg.errors import ConfigError
from tiledseg.training import Recipe, prepare_job
from tiledseg.training._cases import Cases
from tiledseg.training._losses import UNLABELLED

Values = Callable[..., dict[str, Any]]


def job(values: dict[str, Any]) -> Any:
    return prepare_job(Recipe.parse(values))


def test_patches_hold_classes_as_often_as_stated(values: Values) -> None:
    """Within four standard deviations of 2000 draws."""
    shares = {"ground": 0.1, "water": 0.6}
    sampler = job(values(patches={"shares": shares})).sampler
    ids = [sampler.draw(np.random.default_rng([1, i])).id for i in range(2000)]
    found = Counter(ids)
    for name, share in {0: 0.1, 1: 0.0, 2: 0.6, None: 0.3}.items():
        assert abs(found[name] / 2000 - share) <= 4 * np.sqrt(share * (1 - share) / 2000)


def test_every_sample_of_a_class_has_the_same_chance(values: Values) -> None:
    """Where draws fall, over blocks and cases, is what the census says: chi-squared."""
    prepared = job(values(patches={"shares": {"road": 1.0}}))
    draws = [prepared.sampler.draw(np.random.default_rng([2, i])) for i in range(3000)]
    found = Counter((d.case, d.block.start) for d in draws)
    wanted: dict[Any, float] = {}
    for number, name in enumerate(prepared.split.train):
        counted = prepared.census.cases[name]
        for at in np.ndindex(counted.counts.shape[:-1]):
            wanted[number, counted.box(at).start] = float(counted.counts[at][1])
    total = sum(wanted.values())
    expected = {key: 3000 * n / total for key, n in wanted.items() if n}
    statistic = sum((found[key] - n) ** 2 / n for key, n in expected.items())
    assert set(found) <= set(expected)
    assert statistic < len(expected) + 4 * np.sqrt(2 * len(expected)) + 4


def test_groups_have_the_same_chance_however_large(tmp_path: Path) -> None:
    """Of four scenes three are one group; a class that a group lacks is drawn from the others."""
    file = write_dataset(tmp_path / "scenes", cases=4)
    listed = yaml.safe_load(file.read_text())
    for case, group in zip(listed["cases"], ["large", "large", "large", "small"], strict=True):
        case["group"] = group
    file.write_text(yaml.safe_dump(listed))
    with rasterio.open(file.parent / "labels_3.tif", "r+") as labels:
        values = labels.read()
        labels.write(np.where(values == 2, 0, values))
    prepared = job(
        {
            "data": {"dataset": str(file)},
            "network": {"architecture": TINY},
            "patches": {
                "window": [32, 32],
                "shares": {"road": 0.5, "water": 0.5},
                "even_groups": True,
            },
            "run": {"steps": 1},
        }
    )
    draws = [prepared.sampler.draw(np.random.default_rng([3, i])) for i in range(2000)]
    names = prepared.split.train
    small = Counter(d.id for d in draws if names[d.case] == "scene_3")
    found = Counter(d.id for d in draws)
    assert 2 not in small
    assert abs(small[1] / found[1] - 0.5) <= 4 * np.sqrt(0.25 / found[1])
    for draw in draws[:50]:
        census = prepared.census.cases[names[draw.case]]
        assert draw.nth < census.counts[tuple(np.array(draw.block.start) // census.block)][draw.id]


class _Numbered(np.random.Generator):
    """Draws the class asked for, and the sample of a number."""

    def __init__(self, share: float, number: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._share, self._number = share, number

    def random(self) -> float:
        return self._share

    def integers(self, high: int) -> int:
        assert self._number < high
        return self._number


def test_every_draw_is_another_sample_and_there(values: Values) -> None:
    """All draws of a class, one by one: each finds a sample of the class, none twice."""
    prepared = job(values(patches={"shares": {"road": 1.0}}))
    cases = Cases(
        prepared.dataset, prepared._cases(prepared.split.train), prepared.recipe.data, "1GB"
    )
    found = set()
    total = prepared.sampler.totals["road"]
    for number in range(total):
        draw = prepared.sampler.draw(_Numbered(0.5, number))
        with cases.use(draw.case) as case:
            place = draw.find(lambda box, case=case: case.own.read(box)[0], 255)
            assert case.own.read(Box(place, (place[0] + 1, place[1] + 1)))[0, 0, 0] == 1
        found.add((draw.case, place))
    assert len(found) == total
    cases.close()


def test_what_was_not_measured_has_no_label(values: Values, scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gaps"
    shutil.copytree(scenes.parent, folder)
    for file in folder.glob("scene_*.tif"):
        with rasterio.open(file, "r+") as image:
            image.nodata = 0
            gap = np.zeros((2, 40, 40), np.uint8)
            image.write(gap, window=rasterio.windows.Window(20, 10, 40, 40))
    data = {"dataset": str(folder / scenes.name), "normalization": []}
    batch = job(values(data=data, patches={"batch": 8})).batches((0, 1)).read(0)
    missing = (batch.image == 0).all(1)
    assert missing.any()
    assert (batch.truth[missing] == UNLABELLED).all()


def test_a_patch_holds_the_class_it_was_drawn_for(values: Values) -> None:
    prepared = job(values(patches={"shares": {"road": 1.0}, "batch": 8}))
    for number in range(5):
        batch = prepared.batches((0, 1)).read(number)
        assert batch.image.shape == (8, 2, 32, 32)
        assert all((truth == 1).any() for truth in batch.truth)


def test_a_batch_is_the_same_whoever_reads_it(values: Values) -> None:
    """Ahead, in threads, alone, with a cache that holds nothing, and divided over processes."""
    prepared = job(values(patches={"batch": 5, "readers": 3}))
    alone = [prepared.batches((0, 1)).read(i) for i in (7, 8, 9)]
    stream = prepared.batches((0, 1)).ahead(7)
    for batch, wanted in zip(stream, alone, strict=False):
        assert batch.number == wanted.number
        assert torch.equal(batch.image, wanted.image)
        assert torch.equal(batch.truth, wanted.truth)
    stream.close()
    uncached = job(values(patches={"batch": 5, "cache": "1kB"})).batches((0, 1)).read(7)
    assert torch.equal(uncached.image, alone[0].image)
    parts = [prepared.batches((rank, 2)).read(7) for rank in (0, 1)]
    assert torch.equal(torch.cat([p.image for p in parts]), alone[0].image[[0, 2, 4, 1, 3]])


def test_a_patch_is_a_piece_of_the_image(values: Values, scenes: Path) -> None:
    """Samples, labels and what has none are those of the files."""
    prepared = job(values(data={"normalization": []}))
    batch = prepared.batches((0, 1)).read(0)
    files = [scenes.parent / f"scene_{n}.tif" for n in range(4)]
    for image, truth in zip(batch.image, batch.truth, strict=True):
        found = [p for p in (_find(file, image.numpy()) for file in files) if p]
        (place,) = found
        labels = rasterio.open(str(place[0]).replace("scene_", "labels_")).read(1)
        wanted = labels[place[1] : place[1] + 32, place[2] : place[2] + 32].astype(np.int64)
        wanted[wanted == 200] = UNLABELLED
        np.testing.assert_array_equal(truth, wanted)


def test_room_is_read_around_a_patch(values: Values) -> None:
    """The middle is the patch without room; what lies outside the scene has no label."""
    base = {"data": {"normalization": []}, "patches": {"batch": 8}}
    alone = job(values(**base)).batches((0, 1)).read(0)
    room = job(values(**base, augment={"zoom": [0.5, 1.0]})).batches((0, 1)).read(0)
    assert room.image.shape == (8, 2, 64, 64)
    assert torch.equal(room.image[..., 16:-16, 16:-16], alone.image)
    assert torch.equal(room.truth[:, 16:-16, 16:-16], alone.truth)
    assert (room.truth[:, :3] == UNLABELLED).all(-1).any()


def _find(file: Path, patch: np.ndarray) -> tuple[Path, int, int] | None:
    """Return where a patch lies in a scene."""
    image = rasterio.open(file).read().astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(image[0], (32, 32))
    for y, x in np.argwhere(windows[:, :, 0, 0] == patch[0, 0, 0]):
        if (image[:, y : y + 32, x : x + 32] == patch).all():
            return file, int(y), int(x)
    return None


def test_images_smaller_than_a_window_lie_in_it(values: Values) -> None:
    """What is around is the mirrored image, and unlabelled."""
    prepared = job(values(patches={"window": [96, 64]}, data={"normalization": []}))
    reader = prepared.batches((0, 1))
    batches = [reader.read(number) for number in range(6)]
    images, truths = torch.cat([b.image for b in batches]), torch.cat([b.truth for b in batches])
    firsts = []
    for image, truth in zip(images, truths, strict=True):
        rows = np.flatnonzero((truth != UNLABELLED).any(1))
        assert rows[-1] - rows[0] + 1 == 70
        firsts.append(int(rows[0]))
        for above in range(1, firsts[-1] + 1):
            assert torch.equal(image[:, rows[0] - above], image[:, rows[0] + above])
    assert max(firsts) > 5
    assert len(set(firsts)) > 2


def test_resampled_and_turned_cases_agree_with_their_own_grid(values: Values) -> None:
    """A sample and its place on the model's grid are at the same place of the world."""
    prepared = job(values(data={"spacing": [3.0, 4.0]}))
    cases = Cases(
        prepared.dataset, prepared._cases(prepared.split.train), prepared.recipe.data, "1GB"
    )
    with cases.use(0) as case:
        assert case.image.grid.shape == (47, 45)
        for stored in [(0, 0), (35, 61), (69, 89)]:
            place = case.place(stored)
            here = case.own.grid.index_to_world(np.add(stored, 0.5))
            there = case.image.grid.index_to_world(np.add(place, 0.5))
            assert (np.abs(here - there) <= np.array([4.0, 3.0]) / 2 + 1e-6).all()
        labels = case.labels.read(case.labels.grid.box)[0]
        assert set(np.unique(labels)) <= {0, 1, 2, 255}
        image, truth = case.read(Box((0, 0), (47, 45)))
        assert image.shape == (2, 47, 45)
        assert set(np.unique(truth)) <= {-1, 0, 1, 2}


def test_a_cache_keeps_within_its_limit(values: Values) -> None:
    prepared = job(values())
    size = 70 * 90 * (2 + 1 + 2)
    cases = Cases(
        prepared.dataset, prepared._cases(prepared.split.train), prepared.recipe.data, f"{2 * size}"
    )
    for index in (0, 1, 2, 0, 2):
        with cases.use(index) as case:
            assert case.name == prepared.split.train[index]
        assert sum(kept for _, kept in cases._kept.values()) <= 2 * size
    assert list(cases._kept) == [0, 2]
    cases.close()


def test_median_frequency_balancing(values: Values) -> None:
    prepared = job(values())
    cases = [prepared.census.cases[name].totals for name in prepared.split.train]
    share = np.sum(cases, axis=0) / np.sum(cases)  # every scene has every class
    wanted = np.median(share) / share
    found = prepared.sampler.median_frequencies()
    np.testing.assert_allclose(list(found.values()), wanted)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (
            {"patches": {"shares": {"lava": 0.5}}},
            "there is no class 'lava'; the classes are ground",
        ),
        (
            {"loss": {"class_weights": {"lava": 2.0}}},
            "loss.class_weights: there is no class 'lava'",
        ),
        ({"patches": {"window": [200, 200]}}, "more than twice as long as every image"),
        ({"patches": {"window": [31, 32]}}, "must be a multiple of"),
        ({"patches": {"window": [8, 8, 8]}}, "has 2 axes"),
        ({"data": {"folds": 5}}, "expected 2 to 4, the number of groups"),
        ({"data": {"dataset": "nowhere.yaml"}}, "nowhere.yaml"),
        ({"network": {"architecture": {"name": "unit"}}}, "architecture 'unit' is not known"),
        ({"data": {"orientation": "SPL"}}, "orientation"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data(
    values: Values, sections: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        job(values(**sections))
    assert sentence in str(caught.value)


def test_a_scene_is_divided_by_blocks(values: Values, scenes: Path) -> None:
    """No sample of a block that is held out is learned from, nor any within the gap."""
    told = yaml.safe_load(scenes.read_text())
    told["cases"] = told["cases"][:1]
    path = scenes.with_name("single.yaml")
    path.write_text(yaml.safe_dump(told))
    blocks = {"dataset": str(path), "folds": 4, "blocks": 40, "gap": 4, "normalization": []}
    prepared = job(values(data=blocks, patches={"window": [16, 16]}))
    (held,) = prepared.held_out
    assert held.box is not None
    image = rasterio.open(scenes.with_name("scene_0.tif")).read().astype(np.float32)
    seen = np.zeros(image.shape[1:], bool)
    windows = np.lib.stride_tricks.sliding_window_view(image, (16, 16), (1, 2))
    for batch in (prepared.batches((0, 1)).read(i) for i in range(30)):
        for patch in batch.image.numpy():
            ((y, x),) = np.argwhere((windows == patch[:, None, None]).all((0, 3, 4)))
            seen[y : y + 16, x : x + 16] = True
    grown = tuple(
        slice(max(0, a - 4), b + 4) for a, b in zip(held.box.start, held.box.stop, strict=True)
    )
    assert seen.any()
    assert not seen[grown].any()


def test_a_block_has_the_model_units_of_its_scene(values: Values, scenes: Path) -> None:
    """Normalised by all of the image, as `segment` does, in training and where it is held out."""
    from tiledseg.pipeline._validate import Validator

    blocks = {"folds": 4, "blocks": 40, "normalization": [{"kind": "scene_score", "exact": True}]}
    prepared = job(values(data=blocks, patches={"window": [16, 16]}))
    train = prepared._cases(prepared.split.train)
    cases = Cases(prepared.dataset, train, prepared.recipe.data, "1GB")
    for index, case in enumerate(train[:6]):
        image = rasterio.open(case.images[0]).read().astype(np.float64)
        mean, std = (getattr(image, of)(axis=(1, 2), keepdims=True) for of in ("mean", "std"))
        wanted = ((image - mean) / std)[(slice(None), *case.box.slices)]
        with cases.use(index) as opened:
            found = opened.read(Box((0, 0), wanted.shape[1:]))[0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    cases.close()
    held = prepared.held_out[0]
    image = rasterio.open(held.images[0]).read().astype(np.float64)
    checks = Validator(prepared, prepared.card, "cpu", Path(), lambda *_: None)
    lane = checks._card_for(held).normalization
    ones = np.ones((2, 1, 1))
    mean, std = (getattr(image, of)(axis=(1, 2), keepdims=True) for of in ("mean", "std"))
    found = lane(ones, np.ones((1, 1), bool))
    np.testing.assert_allclose(found, (ones - mean) / std, atol=1e-4)


def test_a_class_without_labels(values: Values, scenes: Path, tmp_path: Path) -> None:
    told = yaml.safe_load(scenes.read_text())
    told["classes"] = [*told["classes"], "lava"]
    told["root"] = str(scenes.parent)
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump(told))
    shares = {"lava": 0.25}
    with pytest.raises(ConfigError, match="no labelled sample of the cases to train on"):
        job(values(data={"dataset": str(path)}, patches={"shares": shares}))
    assert job(values(data={"dataset": str(path)})).sampler.totals["lava"] == 0
