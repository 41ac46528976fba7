"""The distance between samples, in metres or millimetres."""

from __future__ import annotations

from math import cos, radians

import numpy as np

from ..grid import Grid, SpaceKind

#: Metres of a degree on a sphere of the Earth's mean radius (IUGG: 6371.0088 km).
_DEGREE = 111_195.0


def spacing_of(grid: Grid) -> tuple[tuple[float, ...], str] | None:
    """Return the distance between samples, array order, and its unit: m, or mm in patient space.

    Returns:
        For a geographic grid about what it is in its middle; None where there is no unit.
    """
    kind, unit = grid.space.kind, grid.space.unit
    if kind is SpaceKind.GEOGRAPHIC:
        middle = sum(grid.bounds[1]) / 2
        # Axes of a geographic image are along meridians and parallels, or nearly.
        metres = np.array([_DEGREE * cos(radians(middle)), _DEGREE])
        lengths = np.linalg.norm(grid.matrix[:2, :2] * metres[:, None], axis=0)
        return tuple(lengths[::-1].tolist()), "m"
    if unit is None:
        return None
    scale = unit * (1000 if kind is SpaceKind.PATIENT else 1)
    return tuple(s * scale for s in grid.spacing), "mm" if kind is SpaceKind.PATIENT else "m"
