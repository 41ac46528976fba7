"""The modal filter of a class map of any size, block by block.

Blocks are read with a halo of the radius, so a sample's new class depends on the map alone. Classes
around a sample are counted by a window that slides along the last axis: what enters and leaves it
is counted, whatever the number of classes.

Memory: about 20 bytes per sample of a block and its halo; never the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..compiled import compiled
from ..errors import ConfigError
from ..grid import Grid, SpaceKind
from ..io import Source
from ..resampling import spacing_of
from ..steps import Smooth
from ._faces import block_boxes
from ._pieces import NODATA, Labels
from ._read import LARGEST, read_labels, rows_of
from ._table import NEAR
from ._union import Ints

#: Bytes held per sample of a block and its halo, measured.
SMOOTHING_BYTES = 20


@dataclass(frozen=True)
class Ball:
    """The samples around one whose classes count.

    Args:
        radii: Radius along every axis, in samples.
        shape: Of the map; what lies beyond it counts for nothing.
    """

    radii: tuple[float, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, step: Smooth, grid: Grid, name: str) -> Ball:
        """Return the ball of a step on a grid.

        Raises:
            ConfigError: The grid has no lengths in the step's unit, or the radius reaches no other
                sample.
        """
        if step.unit == "samples":
            radii = (float(step.radius),) * grid.ndim
        else:
            known = spacing_of(grid)
            if grid.space.kind is SpaceKind.GEOGRAPHIC or known is None or known[1] != step.unit:
                raise ConfigError(
                    f"{name} has no lengths in {step.unit} that are the same everywhere "
                    f"({grid.space.kind.value}); give the radius of smooth in samples"
                )
            radii = tuple(step.radius / s for s in known[0])
        if max(radii) * (1 + NEAR) < 1:
            raise ConfigError(
                f"smooth: a radius of {step.radius:g} {step.unit} reaches no other sample of "
                f"{name}; give at least {step.radius / max(radii):g}"
            )
        return cls(radii, grid.shape)

    @property
    def halo(self) -> tuple[int, ...]:
        """Samples that it reaches along every axis, within the map."""
        pairs = zip(self.radii, self.shape, strict=True)
        return tuple(int(min(r * (1 + NEAR), n - 1)) for r, n in pairs)

    def rows(self) -> Ints:
        """Return its rows along the last axis: steps to them, and how far they reach, (n, 3).

        Steps are along z and y; in a scene along y, and the first is 0.
        """
        radii = (1.0,) * (3 - len(self.radii)) + self.radii
        halo = (0,) * (3 - len(self.radii)) + self.halo
        z, y = np.mgrid[-halo[0] : halo[0] + 1, -halo[1] : halo[1] + 1]
        left = 1 + 2 * NEAR - (z / radii[0]) ** 2 - (y / radii[1]) ** 2
        inside = left >= 0
        reach = np.minimum(np.sqrt(left[inside]) * radii[2] + NEAR, halo[2])
        return np.stack([z[inside], y[inside], reach.astype(np.int64)], axis=1)


def smoothed(
    source: Source, ball: Ball, block: tuple[int, ...] | None = None
) -> Iterator[tuple[Box, Labels, Labels]]:
    """Yield a class map block by block, every sample with the most frequent class around it.

    Args:
        source: The map: one channel of labels of 0 to 65535.
        ball: What is around a sample.
        block: Extent of a block per axis; None takes whole rows. The result does not depend on it.

    Yields:
        Boxes, their labels before and after, `NODATA` where nothing was measured.

    Raises:
        ConfigError: The map holds other values.
        DamagedInput: It cannot be read.
    """
    rows, whole = ball.rows(), source.grid.box
    for box in block_boxes(source.grid.shape, block or rows_of(source)):
        around = box.grow(ball.halo).intersect(whole)
        labels = read_labels(source, around)
        inner = box.relative_to(around)
        yield box, labels[inner.slices], _modes(labels, inner, rows)


def _modes(labels: Labels, inner: Box, rows: Ints) -> Labels:
    """Return the most frequent labels around the samples of a part of a block."""
    held = np.flatnonzero(np.bincount(labels.ravel() + 1, minlength=LARGEST + 2)) - 1
    places = np.full(LARGEST + 2, -1, np.int32)
    known = held[held >= 0]
    places[known + 1] = np.arange(len(known))
    lead = (1,) * (3 - labels.ndim)
    block = places[labels + 1].reshape(lead + labels.shape)
    found = np.empty(lead + inner.shape, np.int32)
    start = np.array((0,) * len(lead) + inner.start, np.int64)
    _slide(block, start, rows, len(known), found)
    names = np.append(known, NODATA).astype(np.int32)
    return names[found].reshape(inner.shape)


@compiled
def _slide(
    block: Labels, start: NDArray[np.int64], rows: Ints, classes: int, found: Labels
) -> None:
    """Write the most frequent class around every sample of a part of a block.

    Args:
        block: Classes from 0 on, (z, y, x), -1 where nothing counts.
        start: First sample of the part.
        rows: Those of `Ball.rows`.
        classes: How many there are.
        found: The part's classes; written.
    """
    deep, high, wide = block.shape
    counts = np.zeros(classes, np.int64)
    for z in range(found.shape[0]):
        for y in range(found.shape[1]):
            counts[:] = 0
            total = 0
            for x in range(found.shape[2]):
                for r in range(len(rows)):
                    a, b = start[0] + z + rows[r, 0], start[1] + y + rows[r, 1]
                    if a < 0 or a >= deep or b < 0 or b >= high:
                        continue
                    last = start[2] + x + rows[r, 2]
                    first = last if x else max(0, start[2] - rows[r, 2])
                    for c in range(first, min(last + 1, wide)):
                        one = block[a, b, c]
                        if one >= 0:
                            counts[one] += 1
                            total += 1
                    gone = start[2] + x - rows[r, 2] - 1
                    if x and gone >= 0:
                        one = block[a, b, gone]
                        if one >= 0:
                            counts[one] -= 1
                            total -= 1
                own = block[start[0] + z, start[1] + y, start[2] + x]
                best = own
                if own >= 0 and 2 * counts[own] < total:
                    for one in range(classes):
                        if counts[one] > counts[best]:
                            best = one
                found[z, y, x] = best
