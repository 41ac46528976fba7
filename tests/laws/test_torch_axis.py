"""Samples lie, to the last bit, where MONAI's resampling by torch finds them."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from tiledseg.grid import Grid
from tiledseg.resampling import Scaling, Target
from tiledseg.resampling._torch_axis import TorchAxis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.networks.layers import AffineTransform

SCALES = (0.5, 0.75, 1.5, 0.8, 1 / 3, 2 / 3, 1.25, 2.0, 0.6, 1.5 / 0.9, 0.625)


def sampled(image: np.ndarray, axes: list[TorchAxis], mode: str) -> np.ndarray:
    """Return an image, (z, y, x), as MONAI samples it."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([axis.scale for axis in axes])
    matrix[:3, 3] = [axis.offset for axis in axes]
    transform = AffineTransform(
        normalized=False, mode=mode, padding_mode="border", align_corners=False
    )
    size = [axis.to for axis in axes]
    values = torch.from_numpy(image.astype(np.float64))[None, None]
    return transform(values, theta=torch.from_numpy(matrix), spatial_size=size)[0, 0].numpy()


def drawn(seed: int) -> list[TorchAxis]:
    generator = np.random.default_rng(seed)
    return [
        TorchAxis(
            *(int(n) for n in generator.integers(1, 60, 2)),
            float(generator.choice(SCALES)),
            float(generator.choice((0, 0, 0.25, -0.5, 0.125))),
        )
        for _ in range(3)
    ]


def test_the_nearest_sample_is_torchs_where_two_are_as_near() -> None:
    ties = ours = 0
    for seed in range(60):
        axes = drawn(seed)
        shape = tuple(axis.of for axis in axes)
        numbers = np.arange(np.prod(shape)).reshape(shape)
        scaling = Scaling.of_torch(axes)
        plain = Scaling(scaling.scale, scaling.offset)
        taps = [scaling.taps("nearest", a, n, 0, axes[a].to) for a, n in enumerate(shape)]
        wanted = sampled(numbers, axes, "nearest")
        np.testing.assert_array_equal(numbers[np.ix_(*(t.index[:, 0] for t in taps))], wanted)
        for a, n in enumerate(shape):
            other = plain.taps("nearest", a, n, 0, axes[a].to).index
            ties += int((other != taps[a].index).sum())
            ours += other.size
    assert ties > 0.01 * ours  # scipy's rule would give others


def test_what_torch_adds_of_a_neighbour_is_added() -> None:
    """A sample on one that is 0 is not quite 0: what counts samples that are not 0 must know."""
    differ = 0
    for seed in range(60):
        axes = drawn(seed)
        shape = tuple(axis.of for axis in axes)
        image = np.random.default_rng(seed).integers(0, 2, shape) * 100.0
        scaling = Scaling.of_torch(axes)
        found = image
        for a, n in enumerate(shape):
            taps = scaling.taps("linear", a, n, 0, axes[a].to)
            one, other = (found.take(taps.index[:, t], axis=a) for t in (0, 1))
            weight = taps.weight.reshape(-1, 2, *(1,) * (2 - a))
            found = one * weight[:, 0] + other * weight[:, 1]
        wanted = sampled(image, axes, "bilinear")
        np.testing.assert_allclose(found, wanted, atol=1e-9)
        np.testing.assert_array_equal(found != 0, wanted != 0)
        differ += int(((wanted != 0) & (np.abs(wanted) < 1e-9)).sum())
    assert differ > 0


def test_any_stretch_is_a_part_of_the_whole_and_a_plan_keeps_it() -> None:
    axes = drawn(3)
    scaling = Scaling.of_torch(axes)
    for a, axis in enumerate(axes):
        whole = scaling.centres(a, 0, axis.to)
        middle = axis.to // 2
        np.testing.assert_array_equal(scaling.centres(a, middle, axis.to), whole[middle:])
    grid = Grid.local(tuple(axis.to for axis in axes))
    target = Target(grid, tuple(axis.of for axis in axes), scaling, ("nearest",) * 3)
    assert Target.from_dict(target.to_dict()) == target
