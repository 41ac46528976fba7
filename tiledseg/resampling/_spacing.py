"""The distance between samples, in metres or millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, radians

import numpy as np

from ..grid import Grid, SpaceKind

#: Metres of a degree on a sphere of the Earth's mean radius (IUGG: 6371.0088 km).
_DEGREE = 111_195.0


def spacing_of(grid: Grid) -> tuple[tuple[float, ...], str] | None:
    """Return what `metric_spacing` does, for a geographic grid about what it is in its middle."""
    if grid.space.kind is SpaceKind.GEOGRAPHIC:
        middle = sum(grid.bounds[1]) / 2
        # Axes of a geographic image are along meridians and parallels, or nearly.
        metres = np.array([_DEGREE * cos(radians(middle)), _DEGREE])
        lengths = np.linalg.norm(grid.matrix[:2, :2] * metres[:, None], axis=0)
        return tuple(lengths[::-1].tolist()), "m"
    return metric_spacing(grid)


def metric_spacing(
    grid: Grid, stated: tuple[float, ...] | None = None
) -> tuple[tuple[float, ...], str] | None:
    """Return the distance between samples, array order, and its unit: m, or mm in patient space.

    Args:
        grid: Of the image.
        stated: The distance in world units as the file states it: to the last bit, which decides
            ties where extents are rounded. None: that of the grid's affine.

    Returns:
        None where world units are no lengths.
    """
    length = grid.space.length
    if length is None:
        return None
    scale, unit = length
    return tuple(s * scale for s in stated or grid.spacing), unit


def filled(wanted: Sequence[float | None], own: Sequence[float]) -> tuple[float, ...]:
    """Return the spacing that is wanted, an image's own along axes where none is."""
    return tuple(a if b is None else b for a, b in zip(own, wanted, strict=True))
