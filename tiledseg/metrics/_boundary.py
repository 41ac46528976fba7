"""Boundary F1, block by block.

The definition is that of Csurka et al. 2013 (BMVC, doi 10.5244/C.27.32): per class, precision is
the share of the map's boundary samples with a boundary sample of the truth within the tolerance,
recall the other way round, and F1 their harmonic mean. Distances are between sample centres, and
one that equals the tolerance counts. (The contour accuracy of Perazzi et al. 2016 counts the same
shares, on boundaries between samples; it differs.)

A sample is boundary where a neighbour along an axis is of another class. The image's border is no
boundary, nor is that of the unlabelled part: what lies beyond is not known.
"""

from __future__ import annotations

from itertools import product
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ._labels import LARGEST, labels_of

#: Samples per axis that a tolerance may span; their square is gone through for every block.
_MOST = 64
#: Stands for "no class in the map"; a class of its own that is not counted.
_NONE = LARGEST + 1


class BoundaryF1:
    """Boundary samples that were matched, per label value.

    Args:
        tolerance: Largest distance that is a match, in the unit of ``spacing``.
        spacing: Distance between samples per axis, array order.

    Attributes:
        halo: Samples per axis that `add` must see around a block's core.

    Raises:
        ConfigError: The tolerance is negative, or spans more than 64 samples.
    """

    def __init__(self, tolerance: float, spacing: tuple[float, ...]) -> None:
        if not 0 <= tolerance < (_MOST + 1) * min(spacing):
            raise ConfigError(
                f"tolerance {tolerance:g} must lie between 0 and {_MOST} samples "
                f"({_MOST * min(spacing):g}) for the boundary F1; choose a smaller one"
            )
        self._reach = tuple(floor(tolerance / s + 1e-6) for s in spacing)
        self.halo = tuple(r + 1 for r in self._reach)
        self._offsets = _disc(tolerance, spacing, self._reach)
        # Per label value: boundary samples of the truth, those matched, and both for the map.
        self.counts: NDArray[np.uint64] = np.zeros((4, 0), np.uint64)

    def add(
        self,
        truth: NDArray[Any],
        found: NDArray[Any],
        valid: NDArray[np.bool_],
        measured: NDArray[np.bool_],
        core: tuple[slice, ...],
    ) -> None:
        """Count the boundary samples of a block's core.

        Args:
            truth: Label values of the core and `halo` samples around it, less at the image's edge.
            found: Those of the map.
            valid: Where there is a truth.
            measured: Where the map has a class.
            core: Which samples of the block to count.
        """
        here = _edges(_coded(truth, valid, valid))
        there = _edges(_coded(found, valid, measured))
        self._match(here, there, core, 0)
        self._match(there, here, core, 2)

    def merge(self, other: BoundaryF1) -> None:
        """Add the counts of another part of the same evaluation."""
        self._reserve(other.counts.shape[1])
        self.counts[:, : other.counts.shape[1]] += other.counts

    def f1(self, ids: tuple[int, ...]) -> NDArray[np.float64]:
        """Return F1 per class: NaN where neither has a boundary, 0 where only one has."""
        self._reserve(max(ids, default=0) + 1)
        truth, recalled, found, right = self.counts[:, list(ids)].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall, precision = recalled / truth, right / found
            f1 = 2 * precision * recall / (precision + recall)
        only_one = (truth > 0) != (found > 0)
        nothing_matched = (truth > 0) & (found > 0) & (recalled + right == 0)
        return np.where(only_one | nothing_matched, 0.0, f1)

    def _match(
        self, edges: NDArray[np.int32], others: NDArray[np.int32], core: tuple[slice, ...], row: int
    ) -> None:
        """Count boundary samples in the core, and those with one of their class in reach."""
        inside = np.full(edges.shape, -1, np.int32)
        inside[core] = edges[core]
        width = [(r, r) for r in self._reach]
        field = np.pad(others, width, constant_values=-1)
        at = np.nonzero((inside >= 0) & (inside < _NONE))
        classes = inside[at]
        self._tally(row, classes)
        places = np.ravel_multi_index(
            tuple(a + r for a, r in zip(at, self._reach, strict=True)), field.shape
        )
        flat = field.ravel()
        strides = np.array(field.strides) // field.itemsize
        for offset in self._offsets:  # the nearest first: most are matched at once
            if not len(places):
                return
            matched = flat[places + int(strides @ offset)] == classes
            self._tally(row + 1, classes[matched])
            places, classes = places[~matched], classes[~matched]

    def _tally(self, row: int, classes: NDArray[np.int32]) -> None:
        counts = np.bincount(classes)
        self._reserve(len(counts))
        self.counts[row, : len(counts)] += counts.astype(np.uint64)

    def _reserve(self, labels: int) -> None:
        """Make room for label values below ``labels``."""
        more = labels - self.counts.shape[1]
        if more > 0:
            self.counts = np.pad(self.counts, ((0, 0), (0, more)))


def _coded(
    values: NDArray[Any], valid: NDArray[np.bool_], measured: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Return label values, -1 where there is no truth, `_NONE` where the map has no class."""
    coded = np.full(values.shape, -1, np.int32)
    coded[valid] = _NONE
    both = valid & measured
    coded[both] = labels_of(values[both], "a class map")
    return coded


def _edges(coded: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the label values of boundary samples, -1 elsewhere."""
    edge = np.zeros(coded.shape, np.bool_)
    known = coded >= 0
    for axis in range(coded.ndim):
        low = (slice(None),) * axis + (slice(None, -1),)
        high = (slice(None),) * axis + (slice(1, None),)
        differ = (coded[low] != coded[high]) & known[low] & known[high]
        edge[low] |= differ
        edge[high] |= differ
    return np.where(edge, coded, np.int32(-1))


def _disc(
    tolerance: float, spacing: tuple[float, ...], reach: tuple[int, ...]
) -> list[NDArray[np.int64]]:
    """Return the offsets within the tolerance, the nearest first."""
    offsets = [np.array(o) for o in product(*(range(-r, r + 1) for r in reach))]
    lengths = [float(np.linalg.norm(o * np.array(spacing))) for o in offsets]
    near = [(d, i) for i, d in enumerate(lengths) if d <= tolerance * (1 + 1e-6)]
    return [offsets[i] for _, i in sorted(near)]
