"""How good a map is: figures from truth and class map, block by block.

Everything here takes arrays and knows no files. `Confusion`, `BoundaryF1` and `Panoptic` are filled
with blocks in any order, and parts are merged; surfaces are measured class by class.
"""

from __future__ import annotations

from ._area import AreaEstimates, Z, estimate_areas, interval
from ._bootstrap import bootstrap_interval
from ._boundary import BoundaryF1
from ._confusion import Confusion, mean_of, told
from ._design import StratifiedDraw, allocate, sample_size
from ._extent import Extents
from ._labels import labels_of
from ._panoptic import Panoptic, PanopticQuality
from ._surface import (
    SurfaceDistances,
    distances_between,
    surface_distances,
    surface_need,
    surface_points,
)

__all__ = [
    "AreaEstimates",
    "BoundaryF1",
    "Confusion",
    "Extents",
    "Panoptic",
    "PanopticQuality",
    "StratifiedDraw",
    "SurfaceDistances",
    "Z",
    "allocate",
    "bootstrap_interval",
    "distances_between",
    "estimate_areas",
    "interval",
    "labels_of",
    "mean_of",
    "sample_size",
    "surface_distances",
    "surface_need",
    "surface_points",
    "told",
]
