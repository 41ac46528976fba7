"""Fewer triangles; the only door to fast-simplification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingBackend

try:
    import fast_simplification
except ImportError as error:
    name = error.name or "fast_simplification"
    raise MissingBackend(name, "surfaces", "decimation of surfaces") from None


def simplify(
    vertices: NDArray[np.float64], faces: NDArray[np.int32], share: float
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return vertices and faces of a mesh without ``share`` of its triangles."""
    found = fast_simplification.simplify(
        np.ascontiguousarray(vertices), np.ascontiguousarray(faces), target_reduction=share
    )
    return np.asarray(found[0], np.float64), np.asarray(found[1], np.int32)
