"""Augmentation: labels go along, what is invented is unlabelled, the same numbers every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml

from tiledseg.training import AugmentSpec, Recipe, prepare_job
from tiledseg.training._augment import Augment
from tiledseg.training._batches import Batch
from tiledseg.training._losses import UNLABELLED

EVERYTHING = {
    "flips": "all",
    "quarter_turns": True,
    "rotation": 40.0,
    "zoom": (0.7, 1.4),
    "elastic": 2.0,
    "spatial_chance": 1.0,
    "brightness": 0.3,
    "contrast": 0.3,
    "gamma": (0.7, 1.5),
    "noise": 0.1,
    "blur": 1.0,
    "channel_drop": 0.3,
    "chance": 1.0,
}


def batch(dims: int, patches: int = 4, number: int = 0) -> Batch:
    """Return patches whose first channel is a smooth ramp of the class."""
    size = (24,) * dims
    truth = torch.arange(24).expand(size) // 6
    image = torch.stack([truth.float(), torch.full(size, 7.0)])
    images = image.expand(patches, *image.shape).clone()
    return Batch(number, tuple(range(patches)), images, truth.expand(patches, *size).clone())


@pytest.mark.parametrize("dims", [2, 3])
def test_nothing_asked_changes_nothing(dims: int) -> None:
    given = batch(dims)
    image, truth = Augment(AugmentSpec(), 0)(given)
    assert torch.equal(image, given.image)
    assert torch.equal(truth, given.truth)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "asked",
    [
        {"flips": "all"},
        {"quarter_turns": True},
        {"rotation": 30.0, "spatial_chance": 1.0},
        {"zoom": (0.6, 1.6), "spatial_chance": 1.0},
        {"elastic": 3.0, "spatial_chance": 1.0},
    ],
)
def test_labels_go_along(dims: int, asked: dict[str, Any]) -> None:
    """The image is its own labels: away from where classes meet, the two still agree."""
    given = batch(dims)
    image, truth = Augment(AugmentSpec(**asked), 3)(given)
    assert not torch.equal(truth, given.truth)
    known = truth != UNLABELLED
    near = (image[:, 0] - truth).abs()[known]
    assert (near < 0.51).float().mean() > 0.99
    torch.testing.assert_close(image[:, 1], given.image[:, 1])


@pytest.mark.parametrize("dims", [2, 3])
def test_what_comes_from_outside_is_unlabelled(dims: int) -> None:
    given = batch(dims, patches=8)
    _, truth = Augment(AugmentSpec(zoom=(0.5, 0.5), spatial_chance=1.0), 0)(given)
    share = (truth != UNLABELLED).float().mean()
    assert share == pytest.approx(0.5**dims, rel=0.15)


@pytest.mark.parametrize("dims", [2, 3])
def test_room_around_a_patch_is_what_comes_from_outside(dims: int) -> None:
    """Halved, a patch shows all that was read: every second sample of it, nothing invented."""
    spec = AugmentSpec(zoom=(0.5, 0.5), spatial_chance=1.0)
    assert spec.room((12,) * dims) == (6,) * dims
    given = batch(dims)
    image, truth = Augment(spec, 0, (6,) * dims)(given)
    assert truth.shape == (4, *(12,) * dims)
    middles = (given.image[:, 0, ..., ::2] + given.image[:, 0, ..., 1::2]) / 2
    torch.testing.assert_close(
        image[:, 0], middles[(slice(None), *[slice(None, None, 2)] * (dims - 1))]
    )
    assert ((image[:, 0] - truth).abs() < 0.51).all()


def test_a_patch_not_varied_is_the_middle_of_what_was_read() -> None:
    """Turns and zooms are about the same middle; what only grows or turns needs no room."""
    given = batch(2)
    seldom = AugmentSpec(zoom=(0.7, 1.4), spatial_chance=1e-9)
    assert seldom.room((8, 14)) == (2, 3)
    image, truth = Augment(seldom, 0, (2, 3))(given)
    assert torch.equal(image, given.image[..., 2:-2, 3:-3])
    assert torch.equal(truth, given.truth[..., 2:-2, 3:-3])
    same = AugmentSpec(zoom=(1.0, 1.0), rotation=1e-9, spatial_chance=1.0)
    image, truth = Augment(same, 0, (2, 3))(given)
    torch.testing.assert_close(image, given.image[..., 2:-2, 3:-3])
    assert torch.equal(truth, given.truth[..., 2:-2, 3:-3])


@pytest.mark.parametrize(
    ("asked", "room"),
    [
        ({"zoom": (1.0, 3.0)}, 0),
        ({"zoom": (0.8, 1.0)}, 4),
        ({"zoom": (0.1, 1.0)}, 16),  # twice as far, no more
        ({"zoom": (0.5, 1.0), "spatial_chance": 0.0}, 0),
        ({"rotation": 45.0}, 0),
    ],
)
def test_room_that_is_read(asked: dict[str, Any], room: int) -> None:
    assert AugmentSpec(**asked).room((32, 32)) == (room, room)


def test_unlabelled_travels_with_the_image() -> None:
    given = batch(2)
    given.truth[:, 5:9, 5:9] = UNLABELLED
    given.image[:, 1, 5:9, 5:9] = -50.0
    image, truth = Augment(AugmentSpec(flips="all", quarter_turns=True), 1)(given)
    assert torch.equal(image[:, 1] == -50.0, truth == UNLABELLED)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_patch_is_varied_alike_whatever_is_beside_it(dims: int) -> None:
    """So batches are the same on any number of processes; other numbers and seeds differ."""
    vary = Augment(AugmentSpec(**EVERYTHING), 9)
    given = batch(dims)
    image, truth = vary(given)
    again, same = vary(Batch(0, (2,), given.image[2:3], given.truth[2:3]))
    assert torch.equal(again[0], image[2])
    assert torch.equal(same[0], truth[2])
    assert image.isfinite().all()
    assert not torch.equal(vary(batch(dims, number=1))[0], image)
    assert not torch.equal(Augment(AugmentSpec(**EVERYTHING), 8)(given)[0], image)


@pytest.mark.parametrize(
    "asked",
    [{"brightness": 0.3}, {"contrast": 0.3}, {"gamma": (0.5, 2.0)}, {"noise": 0.5}, {"blur": 2.0}],
)
def test_intensities_are_varied_in_a_share_of_the_patches(asked: dict[str, Any]) -> None:
    """Labels stay; 200 patches at a chance of 0.25, within four standard deviations."""
    given = batch(2, patches=200)
    image, truth = Augment(AugmentSpec(**asked, chance=0.25), 0)(given)
    assert torch.equal(truth, given.truth)
    share = (image != given.image).flatten(1).any(1).float().mean()
    assert abs(share - 0.25) <= 4 * (0.25 * 0.75 / 200) ** 0.5


def test_channels_are_dropped_never_all() -> None:
    given = batch(2, patches=200)
    given.image[:] += 1
    image, _ = Augment(AugmentSpec(channel_drop=0.5), 0)(given)
    gone = (image == 0).flatten(2).all(2)
    assert 0.2 < gone.float().mean() < 0.5
    assert not gone.all(1).any()


def moved(shape: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Return the matrices of 20 turns, between real lengths: (20, d, d), x first."""
    vary = Augment(AugmentSpec(rotation=40.0, spatial_chance=1.0), 0, spacing=spacing)
    given = Batch(0, tuple(range(20)), torch.zeros(20, 1, *shape), torch.zeros(20, *shape))
    sides = np.array(shape[::-1]) * spacing[::-1] / 2
    found = [vary._matrix(vary._chance(given, patch), torch.Size(shape)) for patch in range(20)]
    return np.stack([m.numpy()[:, :-1] * sides[:, None] / sides[None, :] for m in found])


@pytest.mark.parametrize(
    ("shape", "spacing"), [((20, 30), (2.0, 0.5)), ((12, 20, 24), (2.5, 1.0, 1.5))]
)
def test_turns_keep_real_lengths_and_angles(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    """Whatever the spacing, the matrix is a rotation of the world."""
    turns = moved(shape, spacing)
    one = np.eye(len(shape))
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), one + 0 * turns, atol=1e-6)
    assert (np.abs(turns - one).max((1, 2)) > 0).all()


@pytest.mark.parametrize("coarse", [0, 1, 2])
def test_anisotropic_volumes_turn_in_their_plane(coarse: int) -> None:
    """Slices 4 times as far apart as their samples stay slices."""
    spacing = tuple(4.0 if axis == coarse else 1.0 for axis in range(3))
    turns, across = moved((12, 20, 24), spacing), 2 - coarse
    np.testing.assert_allclose(turns[:, across], np.eye(3)[across] + 0 * turns[:, across])
    assert (np.abs(turns - np.eye(3)).max((1, 2)) > 0).all()


def test_a_training_turns_by_the_spacing_of_its_cases(tmp_path: Path) -> None:
    """Along the axes of the model: volumes stored as L, P, S with slices of 5 mm, turned to SPL."""
    cases = []
    for name in "ab":
        image = np.random.default_rng(0).random((20, 20, 8)).astype(np.float32)
        for file, values in ((f"{name}.nii.gz", image), (f"{name}_l.nii.gz", image > 0.5)):
            affine = np.diag([0.8, 0.8, 5.0, 1.0])
            nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), tmp_path / file)
        cases.append({"image": f"{name}.nii.gz", "labels": f"{name}_l.nii.gz"})
    (tmp_path / "set.yaml").write_text(yaml.safe_dump({"classes": ["x", "y"], "cases": cases}))
    values = {
        "data": {"dataset": str(tmp_path / "set.yaml"), "orientation": "LSP"},
        "network": {"architecture": {"name": "unet", "channels": [4, 8], "strides": [2]}},
        "patches": {"window": [16, 8, 16]},
    }
    job = prepare_job(Recipe.parse(values))
    assert job.augment()._spacing == pytest.approx((0.8, 5.0, 0.8))
    values["data"]["spacing"] = [None, 2.0, 1.0]
    job = prepare_job(Recipe.parse(values))
    assert job.augment()._spacing == pytest.approx((0.8, 2.0, 1.0))
