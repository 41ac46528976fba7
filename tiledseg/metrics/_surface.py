"""Distances between the surfaces of a class in truth and map.

The definitions are those of MONAI 1.6 (`compute_hausdorff_distance`, `compute_surface_dice`,
`compute_average_surface_distance`, euclidean, without sub-voxels), sample by sample: a surface
sample is one of the class with a neighbour along an axis that is not, the image's border included;
a surface sample's distance is that to the nearest surface sample of the other. DeepMind's
surface-distance measures the same distances and weighs them by surface area, which MONAI does only
with sub-voxels; figures of that tool differ.

Where the class is in neither, everything is NaN. Where it is in one only, distances are infinite
and the normalised surface distance is 0, as in MONAI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]
Distances = NDArray[np.float32]

#: Bytes per sample of the masks, their erosions and surfaces, while both are looked through.
_PER_SAMPLE = 6
#: Bytes per surface sample: its coordinates twice over, its place in the tree, its distance.
_PER_POINT = 120


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances of every surface sample of one mask to the nearest of the other.

    Args:
        from_map: From the map's surface samples to the truth's surface; float32 as in MONAI, so
            that a distance equal to a tolerance counts whatever the last bit of the spacing.
        from_truth: The other way round.
    """

    from_map: Distances
    from_truth: Distances

    def hausdorff(self, percentile: float = 95.0) -> float:
        """Return the larger of the two directions' percentiles, in the spacing's unit."""
        sides = [_percentile(d, percentile) for d in (self.from_map, self.from_truth) if len(d)]
        return max(sides, default=float("nan"))

    def average(self) -> float:
        """Return the mean over the surface samples of both, in the spacing's unit."""
        both = self._both()
        return float(both.mean(dtype=np.float64)) if len(both) else float("nan")

    def normalised(self, tolerance: float) -> float:
        """Return the share of surface samples of both within ``tolerance`` of the other (NSD)."""
        both = self._both()
        return float((both <= np.float32(tolerance)).mean()) if len(both) else float("nan")

    def _both(self) -> Distances:
        return np.concatenate([self.from_map, self.from_truth])


def surface_distances(truth: Mask, found: Mask, spacing: tuple[float, ...]) -> SurfaceDistances:
    """Measure a class.

    Args:
        truth: Where the class is, (y, x) or (z, y, x). What lies outside the array is not of the
            class, so the class's own bounding box is enough.
        found: Where the map has it, the same shape.
        spacing: Distance between samples per axis, array order, in the unit wanted (mm).
    """
    return distances_between(surface_points(truth, spacing), surface_points(found, spacing))


def distances_between(truth: NDArray[np.float64], found: NDArray[np.float64]) -> SurfaceDistances:
    """Measure surfaces by the places of their samples, as `surface_points` returns them."""
    return SurfaceDistances(_nearest(found, truth), _nearest(truth, found))


def surface_points(mask: Mask, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the places of a mask's surface samples, (n, axes), in the spacing's unit."""
    # Erosion by the cross of an axis's neighbours, scipy's default, with nothing outside.
    points: NDArray[Any] = np.argwhere(mask & ~binary_erosion(mask))
    return points * np.asarray(spacing, np.float64)


def surface_need(samples: int, points: int) -> int:
    """Return the bytes `surface_distances` needs for masks of ``samples`` with such surfaces."""
    return samples * _PER_SAMPLE + points * _PER_POINT


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> Distances:
    if not len(points) or not len(others):
        return np.full(len(points), np.inf, np.float32)
    found, _ = cKDTree(others, leafsize=32).query(points)
    return np.asarray(found, np.float32)


def _percentile(distances: Distances, percentile: float) -> float:
    if np.isinf(distances).any():  # all are: the other surface is empty
        return float("inf")
    return float(np.percentile(distances.astype(np.float64), percentile))
