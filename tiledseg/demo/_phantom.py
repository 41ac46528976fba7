"""A CT-like phantom with known truth: body, lungs, liver, kidneys, spleen, bone, aorta."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..grid import PATIENT, Grid
from ._noise import field, fractal

CLASSES = ("background", "lung", "liver", "kidney", "spleen", "bone", "aorta")
LUNG, LIVER, KIDNEY, SPLEEN, BONE, AORTA = range(1, 7)
#: Millimetres between slices, rows and columns.
SPACING = (2.0, 1.6, 1.6)
#: Hounsfield units in contrast-enhanced CT, by class; 0 is soft tissue.
_UNITS = (35, -820, 95, 200, 150, 420, 270)
_AIR, _FAT = -1000, -100


@dataclass(frozen=True)
class Phantom:
    """A made volume.

    Args:
        image: int16 (z, y, x), Hounsfield units.
        truth: uint8 (z, y, x), index into `CLASSES`.
        grid: Where it lies: slightly tilted patient space.
    """

    image: NDArray[np.int16]
    truth: NDArray[np.uint8]
    grid: Grid


def make_phantom(seed: int, shape: tuple[int, int, int] = (128, 192, 224)) -> Phantom:
    """Make a volume; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    space = _Space(rng, shape)
    body = space.inside((0.5, 0.5, 0.5), (9, 0.40, 0.44))
    flesh = space.inside((0.5, 0.5, 0.5), (9, 0.36, 0.40))
    truth = np.zeros(shape, np.uint8)
    for label, center, radii in _organs(rng):
        truth[flesh & space.inside(center, radii)] = label
    _bones(space, truth, body & ~space.inside((0.5, 0.5, 0.5), (9, 0.335, 0.375)), flesh)
    truth[space.inside((0.5, 0.60, 0.47), (9, 0.035, 0.03)) & (truth != BONE)] = AORTA
    image = np.where(flesh, np.float32(_UNITS[0]), np.where(body, np.float32(_FAT), _AIR))
    shift = rng.uniform(-10, 10, len(_UNITS))
    for label in range(1, len(CLASSES)):
        image[truth == label] = _UNITS[label] + (shift[label] if label != LUNG else 0)
    rough = np.array([12, 60, 10, 14, 10, 60, 8], np.float32)[truth]
    image += np.where(body, rough * fractal(rng, shape, 5, 2), 0)
    image += rng.standard_normal(shape, np.float32) * 18
    image[space.table()] = 150
    return Phantom(np.clip(image, -1024, 3000).astype(np.int16), truth, _grid(shape))


def _organs(
    rng: np.random.Generator,
) -> list[tuple[int, tuple[float, ...], tuple[float, ...]]]:
    """Return label, centre and radii as shares of the volume, (z, y, x); x grows to the left."""
    blobs = [
        (LUNG, (0.86, 0.47, 0.31), (0.30, 0.24, 0.13)),
        (LUNG, (0.86, 0.47, 0.69), (0.30, 0.24, 0.13)),
        (LIVER, (0.50, 0.44, 0.31), (0.20, 0.20, 0.17)),
        (LIVER, (0.53, 0.36, 0.47), (0.12, 0.10, 0.14)),
        (SPLEEN, (0.52, 0.58, 0.76), (0.13, 0.12, 0.07)),
        (KIDNEY, (0.30, 0.63, 0.34), (0.15, 0.065, 0.055)),
        (KIDNEY, (0.34, 0.63, 0.66), (0.15, 0.065, 0.055)),
    ]
    moved = []
    for label, center, radii in blobs:
        jitter = rng.uniform(-0.02, 0.02, 3)
        scale = rng.uniform(0.88, 1.12)
        where = tuple(float(c + j) for c, j in zip(center, jitter, strict=True))
        moved.append((label, where, tuple(r * scale for r in radii)))
    return moved


def _bones(
    space: _Space,
    truth: NDArray[np.uint8],
    wall: NDArray[np.bool_],
    flesh: NDArray[np.bool_],
) -> None:
    """Add spine and ribs."""
    spine = space.inside((0.5, 0.71, 0.5), (9, 0.075, 0.065))
    canal = space.inside((0.5, 0.76, 0.5), (9, 0.022, 0.022))
    truth[spine & ~canal] = BONE
    slanted = (space.z * 11 + space.y * 3.2) % 1.0
    truth[wall & flesh & (slanted < 0.38) & (space.z > 0.42)] = BONE


class _Space:
    """Shares of the volume per axis, bent by smooth fields so that nothing is an ellipsoid."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        shares = [(np.arange(n, dtype=np.float32) + 0.5) / n for n in shape]
        axes = np.meshgrid(*shares, indexing="ij")
        self.z, self.y, self.x = (
            a + 0.022 * field(rng, shape, 40) + 0.006 * field(rng, shape, 12) for a in axes
        )
        self._plain = list(axes)

    def inside(self, center: tuple[float, ...], radii: tuple[float, ...]) -> NDArray[np.bool_]:
        """Return the bent ellipsoid."""
        terms = zip((self.z, self.y, self.x), center, radii, strict=True)
        total = sum(((a - c) / r) ** 2 for a, c, r in terms)
        return np.asarray(total) < 1

    def table(self) -> NDArray[np.bool_]:
        """Return the couch under the patient."""
        _, y, x = self._plain
        return np.asarray((np.abs(y - 0.945) < 0.008) & (np.abs(x - 0.5) < 0.4))


def _grid(shape: tuple[int, int, int]) -> Grid:
    tilt = np.deg2rad(4.0)
    direction = np.array(
        [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    )
    return Grid.from_centers(shape, (-170.0, -150.0, 40.0), SPACING[::-1], direction, PATIENT)
