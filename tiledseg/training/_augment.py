"""Patches varied on the device, one after the other; labels go along.

Every patch has generators of its own, seeded by its place in the training, so a batch is varied
alike whatever else is computed, and on however many processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample, interpolate

from ._batches import VARIETY, Batch
from ._data_spec import AugmentSpec
from ._losses import UNLABELLED
from ._monai import GaussianFilter

#: Ratio of spacings from which volumes are not turned out of the fine plane (nnU-Net's threshold of
#: anisotropy, Isensee et al. 2021): there is too little to interpolate between.
_ANISOTROPY = 3.0
#: Samples between the nodes of an elastic deformation.
_NODES = 16
#: Standard deviation below which a blur changes nothing.
_SHARP = 0.05


@dataclass(frozen=True)
class _Chance:
    """The random numbers of one patch.

    Args:
        rng: For parameters.
        torch: For noise, on the device.
    """

    rng: np.random.Generator
    torch: torch.Generator

    def happens(self, share: float) -> bool:
        """Whether something that happens to a share of the patches happens to this one."""
        return bool(self.rng.random() < share)


class Augment:
    """Varies batches.

    Args:
        spec: How.
        seed: Of the training.
        room: Samples beyond each side of a patch that batches bring along; None: none.
        spacing: Typical spacing of the samples, array order, so that turns keep real angles and
            lengths; None: alike along all axes.
    """

    def __init__(
        self,
        spec: AugmentSpec,
        seed: int,
        room: tuple[int, ...] | None = None,
        spacing: tuple[float, ...] | None = None,
    ) -> None:
        self._spec, self._seed, self._room, self._spacing = spec, seed, room, spacing
        low, high = spec.zoom
        self._moves = spec.rotation > 0 or spec.elastic > 0 or (low, high) != (1, 1)

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return image and truth of a batch that lies on the device, varied."""
        pairs = [
            self._patch(self._chance(batch, patch), x, y)
            for patch, x, y in zip(batch.patches, batch.image, batch.truth, strict=True)
        ]
        return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])

    def _chance(self, batch: Batch, patch: int) -> _Chance:
        seeds = [self._seed, VARIETY, batch.number, patch]
        rng = np.random.default_rng(seeds)
        generator = torch.Generator(batch.image.device)
        generator.manual_seed(int(rng.integers(2**62)))
        return _Chance(rng, generator)

    def _patch(
        self, chance: _Chance, image: torch.Tensor, truth: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a patch, (c, *window) and (*window), varied; room and all comes in."""
        room = self._room or (0,) * truth.ndim
        window = tuple(slice(r, n - r) for r, n in zip(room, truth.shape, strict=True))
        if self._moves and chance.happens(self._spec.spatial_chance):
            image, truth = self._moved(chance, image, truth, truth[window].shape)
        else:
            image, truth = image[:, *window], truth[window]
        axes = self._mirrored(chance, truth.ndim)
        image, truth = image.flip([a + 1 for a in axes]), truth.flip(axes)
        if self._spec.quarter_turns:
            turns = int(chance.rng.integers(4))
            image, truth = image.rot90(turns, (-2, -1)), truth.rot90(turns, (-2, -1))
        return self._coloured(chance, image.contiguous()), truth.contiguous()

    # ------------------------------------------------------------- where samples lie

    def _mirrored(self, chance: _Chance, dims: int) -> list[int]:
        axes = range(dims) if isinstance(self._spec.flips, str) else self._spec.flips
        return [axis for axis in axes if chance.happens(0.5)]

    def _moved(
        self, chance: _Chance, image: torch.Tensor, truth: torch.Tensor, shape: torch.Size
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn, zoom and deform: images linearly, labels by nearest, the outside unlabelled.

        What comes out has ``shape``, about the middle of what comes in.
        """
        grid = affine_grid(self._matrix(chance, shape)[None], [1, 1, *shape], align_corners=False)
        grid = grid.to(image)
        if self._spec.elastic:
            grid = grid + self._deformation(chance, shape, image)
        # from shares of the window's sides to shares of the sides of all there is
        shares = [n / m for n, m in zip(shape, truth.shape, strict=True)]
        grid = grid * torch.tensor(shares[::-1]).to(grid)
        moved = grid_sample(
            image[None], grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        # 0 is what comes from outside, so labels are one higher on the way.
        labels = (truth - UNLABELLED).to(image)[None, None]
        picked = grid_sample(
            labels, grid, mode="nearest", padding_mode="zeros", align_corners=False
        )
        return moved[0], picked[0, 0].round().long() + UNLABELLED

    def _matrix(self, chance: _Chance, shape: torch.Size) -> torch.Tensor:
        """Return from where every sample comes: (d, d + 1), axes x first, sides at -1 and 1."""
        dims = len(shape)
        low, high = self._spec.zoom
        zoom = float(np.exp(chance.rng.uniform(np.log(low), np.log(high))))
        turn, step = np.eye(dims), np.array(self._spacing or (1.0,) * dims)[::-1]
        for a, b in [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]:
            if dims == 3 and max(step[a] / step[b], step[b] / step[a]) > _ANISOTROPY:
                continue
            angle = chance.rng.uniform(-1, 1) * self._spec.rotation * pi / 180
            plane = np.eye(dims)
            plane[[a, b], [a, b]] = cos(angle)
            plane[a, b], plane[b, a] = -sin(angle), sin(angle)
            turn = turn @ plane
        half = step * np.array(shape[::-1]) / 2  # turned in real lengths, then as shares of sides
        matrix = np.column_stack([turn / zoom * half[None, :] / half[:, None], np.zeros(dims)])
        return torch.from_numpy(matrix)

    def _deformation(self, chance: _Chance, shape: torch.Size, like: torch.Tensor) -> torch.Tensor:
        """Return displacements, smooth between random nodes: (1, *shape, d), x first."""
        nodes = [max(2, round(n / _NODES)) + 1 for n in shape]
        size = (1, len(shape), *nodes)
        drawn = torch.randn(size, generator=chance.torch, device=like.device, dtype=like.dtype)
        smooth = interpolate(
            drawn, shape, mode="bilinear" if len(shape) == 2 else "trilinear", align_corners=True
        )
        to_sides = torch.tensor([2 / n for n in shape[::-1]]).to(like)
        return smooth.movedim(1, -1) * self._spec.elastic * to_sides

    # ------------------------------------------------------------- what samples are

    def _coloured(self, chance: _Chance, image: torch.Tensor) -> torch.Tensor:
        """Vary intensities, each way in a share of the patches."""
        spec = self._spec
        steps: list[tuple[bool, Callable[[_Chance, torch.Tensor], torch.Tensor]]] = [
            (spec.noise > 0, self._noisy),
            (spec.blur > 0, self._blurred),
            (spec.brightness > 0, self._brighter),
            (spec.contrast > 0, self._contrasted),
            (spec.gamma != (1, 1), self._curved),
        ]
        for wanted, step in steps:
            if wanted and chance.happens(spec.chance):
                image = step(chance, image)
        if spec.channel_drop and len(image) > 1:
            kept = chance.rng.random(len(image)) >= spec.channel_drop
            if kept.any():
                image = image * _column(kept.astype(np.float64), image)
        return image

    def _noisy(self, chance: _Chance, image: torch.Tensor) -> torch.Tensor:
        scale = chance.rng.uniform(0, self._spec.noise)
        noise = torch.randn(
            image.shape, generator=chance.torch, device=image.device, dtype=image.dtype
        )
        return image + scale * noise

    def _blurred(self, chance: _Chance, image: torch.Tensor) -> torch.Tensor:
        width = float(chance.rng.uniform(_SHARP, max(_SHARP, self._spec.blur)))
        blurred: torch.Tensor = GaussianFilter(image.ndim - 1, width)(image[None])[0]
        return blurred

    def _brighter(self, chance: _Chance, image: torch.Tensor) -> torch.Tensor:
        change = chance.rng.uniform(-self._spec.brightness, self._spec.brightness, len(image))
        return image * _column(1 + change, image)

    def _contrasted(self, chance: _Chance, image: torch.Tensor) -> torch.Tensor:
        change = chance.rng.uniform(-self._spec.contrast, self._spec.contrast, len(image))
        mean = image.mean(tuple(range(1, image.ndim)), keepdim=True)
        return mean + (image - mean) * _column(1 + change, image)

    def _curved(self, chance: _Chance, image: torch.Tensor) -> torch.Tensor:
        low, high = self._spec.gamma
        power = float(np.exp(chance.rng.uniform(np.log(low), np.log(high))))
        axes = tuple(range(1, image.ndim))
        least, most = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
        span = (most - least).clamp(min=1e-7)
        return ((image - least) / span) ** power * span + least


def _column(values: np.ndarray, image: torch.Tensor) -> torch.Tensor:
    """Return a value per channel, to go with an image (c, *s)."""
    return torch.from_numpy(values).to(image).reshape(-1, *(1,) * (image.ndim - 1))
