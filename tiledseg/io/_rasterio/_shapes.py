"""Class map -> outlines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.transform import Affine


def polygonize(
    class_map: NDArray[Any], wanted: NDArray[np.bool_], affine: NDArray[np.float64]
) -> Iterator[tuple[dict[str, Any], int]]:
    """Return the outline of every 4-connected region, in world coordinates.

    Args:
        class_map: Labels, (y, x), uint8 or uint16.
        wanted: Where to look, (y, x).
        affine: Edge-registered 3 x 3 matrix, (x, y) index -> world.

    Returns:
        Pairs of a GeoJSON-like polygon and its label.
    """
    transform = Affine(*affine[:2].ravel().tolist())
    for shape, label in shapes(class_map, mask=wanted, connectivity=4, transform=transform):
        yield shape, int(label)
