"""Well-known binary, extents and places are those of shapely and of the grid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely

from tiledseg.errors import OutputFailed
from tiledseg.grid import Grid
from tiledseg.vector import _wkb
from tiledseg.vector._wkb import Shapes, around, shapes_of, to_world

#: Six rings, three polygons, two features.
RINGS = np.array([0, 5, 9, 14, 20, 25, 40])
SHELLS = np.array([0, 2, 3, 6])
PARTS = np.array([0, 2, 3])


def points() -> np.ndarray:
    """Return points of closed rings; holes within their shell's extent."""
    made = np.random.default_rng(0).random((RINGS[-1], 2))
    for ring in SHELLS[:-1]:
        made[RINGS[ring] : RINGS[ring] + 2] = [(-0.5, 7.25), (9.5, -1.0)]
    made[RINGS[1:] - 1] = made[RINGS[:-1]]
    return made


def split(shapes: Shapes) -> list[bytes]:
    """Return the bytes of every shape."""
    ends = shapes.offsets.tolist()
    return [shapes.data[a:b].tobytes() for a, b in pairwise(ends)]


@pytest.mark.parametrize("parts", [None, PARTS])
def test_bytes_are_those_of_shapely(parts: np.ndarray | None) -> None:
    multi = parts is not None
    kind = shapely.GeometryType.MULTIPOLYGON if multi else shapely.GeometryType.POLYGON
    lists = (RINGS, SHELLS, PARTS) if multi else (RINGS, SHELLS)
    theirs = shapely.from_ragged_array(kind, points(), lists)
    mine = shapes_of(points(), RINGS, SHELLS, parts)
    assert split(mine) == shapely.to_wkb(theirs).tolist()
    np.testing.assert_array_equal(mine.boxes, shapely.bounds(theirs))
    assert len(shapes_of(np.zeros((0, 2)), np.zeros(1, int), np.zeros(1, int), None)) == 0


def test_places_and_perimeters() -> None:
    corners = np.rint(points() * 10).astype(np.int32)
    grid = Grid.from_matrix((90, 100), np.array([[2.0, 0.5, 7], [-0.25, 3.0, -9], [0, 0, 1]]))
    theirs = grid.index_to_world(corners[:, ::-1])
    world = to_world(corners, RINGS, grid.matrix, False)
    np.testing.assert_array_equal(world, theirs)
    turned = to_world(corners, RINGS, grid.matrix, True)
    for low, high in pairwise(RINGS.tolist()):
        np.testing.assert_array_equal(turned[low:high], theirs[low:high][::-1])
    (a, b), (d, e) = grid.matrix[:2, :2]
    metrics = np.tile((a * a + d * d, a * b + d * e, b * b + e * e), (120, 1))
    shapes = shapely.from_ragged_array(
        shapely.GeometryType.MULTIPOLYGON, theirs, (RINGS, SHELLS, PARTS)
    )
    lengths = around(corners + 20, RINGS, SHELLS[PARTS], metrics, 1)
    np.testing.assert_allclose(lengths, shapely.length(shapes), rtol=1e-13)


def test_what_no_file_can_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wkb, "_MOST", 500)
    with pytest.raises(OutputFailed, match="a feature of 26 corners is more than files hold"):
        shapes_of(points(), RINGS, SHELLS, PARTS)
