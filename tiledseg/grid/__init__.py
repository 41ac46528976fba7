"""Grid and Space: where the samples of an image lie in the world.

One affine, registered at the *edges* of samples: continuous index 0 is the outer corner of the
first sample and ``n`` the outer corner of the last. GDAL registers there; ITK, NIfTI and OME-Zarr
register at sample centres. The half sample between the two is added in `Grid.from_centers`,
removed in `Grid.centers`, and appears nowhere else.

Array order is (y, x) or (z, y, x). Affines, and only affines, use (x, y[, z]).
"""

from ._axes import AxisMap
from ._grid import ControlPoint, Grid
from ._space import LOCAL, PATIENT, Space, SpaceKind

__all__ = [
    "LOCAL",
    "PATIENT",
    "AxisMap",
    "ControlPoint",
    "Grid",
    "Space",
    "SpaceKind",
]
