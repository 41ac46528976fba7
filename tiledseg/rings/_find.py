"""Label volume -> closed contours in its planes, along the sides of voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..components import NODATA, read_labels, require_class_map
from ..errors import ConfigError
from ..grid import Grid
from ..io import Source
from ._kernels import rings_of

OnShare = Callable[[float], None]
#: Voxels that are read at a time where planes are smaller.
_READ = 1 << 21
#: Bytes per voxel of a plane while rings are made, and per voxel that is read.
PLANE_BYTES, READ_BYTES = 100, 12


@dataclass(frozen=True)
class Contour:
    """One closed polygon, around one 4-connected face of a class in one plane.

    Holes of the face are joined to it by channels of no width, so the polygon encloses its voxels
    by the even-odd rule and by winding alike.

    Args:
        label: Of the class.
        plane: Index along axis 0.
        corners: Corners (y, x) in voxels from the plane's first corner, int32 (n, 2).
    """

    label: int
    plane: int
    corners: NDArray[np.int32] = field(repr=False)

    @property
    def area(self) -> float:
        """Voxels that it encloses, by the shoelace formula."""
        y, x = self.corners.T.astype(np.int64)
        return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2

    def points(self, grid: Grid) -> NDArray[np.float64]:
        """Return the corners in world coordinates, in the middle of the plane, (n, 3): x first."""
        index = np.column_stack([np.full(len(self.corners), self.plane + 0.5), self.corners])
        return grid.index_to_world(index)


def find_contours(
    source: Source, wanted: NDArray[np.bool_], on_share: OnShare | None = None
) -> Iterator[Contour]:
    """Yield the contours of labels, plane by plane along axis 0.

    Memory: some planes, 12 bytes per voxel, and 100 bytes per voxel of one.

    Args:
        source: The volume: one channel of whole numbers of 0 to 65535.
        wanted: Labels to look at, (65536,).
        on_share: Told the share that is done, 0 to 1.

    Raises:
        ConfigError: It is no volume of labels.
        DamagedInput: It cannot be read.
    """
    require_class_map(source)
    if source.grid.ndim != 3:
        raise ConfigError(
            f"{source.uri} is an image of 2 axes, contours are made of volumes; make polygons of "
            "it (tiledseg vectorize)"
        )
    shape = source.grid.shape
    for box in Box.of_shape(shape).pieces((_planes(shape, source.blocks[0]), *shape[1:])):
        labels = read_labels(source, box)
        labels[~wanted[labels] | (labels == NODATA)] = NODATA
        for plane, values in enumerate(labels, box.start[0]):
            yield from _contours(plane, values)
        if on_share is not None:
            on_share(box.stop[0] / shape[0])


def contours_need(shape: tuple[int, ...]) -> int:
    """Return the bytes that finding contours takes."""
    across = prod(shape[1:])
    return READ_BYTES * max(_READ, across) + PLANE_BYTES * across


def _planes(shape: tuple[int, ...], own: int) -> int:
    """Return how many planes are read at a time: in multiples of the file's own where they fit."""
    fit = max(1, _READ // prod(shape[1:]))
    return min(shape[0], max(fit // own * own, min(fit, own)))


def _contours(plane: int, values: NDArray[np.int32]) -> Iterator[Contour]:
    if (values == NODATA).all():
        return
    owners, ends, corners = rings_of(np.pad(values, 1, constant_values=NODATA))
    begin = 0
    for label, end in zip(owners.tolist(), ends.tolist(), strict=True):
        yield Contour(label, plane, corners[begin:end] - 1)
        begin = end
