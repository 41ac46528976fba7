"""Surfaces: closed, facing outwards, in the right place, whatever the geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from tiledseg.grid import PATIENT, Grid
from tiledseg.labels import ClassInfo, ClassSchema
from tiledseg.vector import write_surfaces
from tiledseg.vector._surfaces import surface


def turned(flips: tuple[int, int, int], angle: float, shape: tuple[int, int, int]) -> Grid:
    """Return an oblique, possibly left-handed patient grid."""
    c, s = np.cos(angle), np.sin(angle)
    direction = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(flips)
    return Grid.from_centers(shape, (5.0, -7.0, 11.0), (0.7, 0.8, 2.5), direction, PATIENT)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    angle=st.floats(0, 1.5),
)
def test_random_voxels_give_closed_outward_surfaces(
    seed: int, flips: tuple[int, int, int], angle: float
) -> None:
    voxels = np.random.default_rng(seed).random((6, 7, 5)) < 0.4
    voxels[0, 0, 0] = True
    grid = turned(flips, angle, (6, 7, 5))
    raw = surface(voxels, grid)
    mesh = trimesh.Trimesh(raw.vertices, raw.faces, process=False)
    edges = np.sort(mesh.edges, axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts % 2 == 0).all(), "an edge with one face is a hole"
    assert mesh.volume > 0


def test_a_ball_has_its_volume_and_place() -> None:
    z, y, x = np.mgrid[:40, :50, :50]
    voxels = ((z - 20) * 2.5) ** 2 + ((y - 25) * 0.8) ** 2 + ((x - 25) * 0.7) ** 2 < 12**2
    grid = turned((1, -1, 1), 0.3, voxels.shape)
    mesh = surface(voxels, grid)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(voxels.sum() * 0.7 * 0.8 * 2.5, rel=0.03)
    center = grid.index_to_world((20.5, 25.5, 25.5))
    np.testing.assert_allclose(mesh.center_mass, center, atol=0.1)


@pytest.mark.parametrize("file_format", ["stl", "ply"])
def test_files(tmp_path: Path, file_format: str) -> None:
    classes = (
        ClassInfo(0, "nothing", (0, 0, 0)),
        ClassInfo(1, "../left lung", (9, 9, 9)),
        ClassInfo(2, "absent", (1, 1, 1)),
    )
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[:, 2:5, 2:5] = 1
    labels[0, 8, 8] = 255
    made = write_surfaces(
        labels, Grid.local((9, 9, 9)), ClassSchema(classes, 0), tmp_path / "s", file_format
    )
    assert [p.name for p in made] == [f"001__left_lung.{file_format}"]
    mesh = trimesh.load(made[0])
    assert mesh.is_watertight
    assert mesh.bounds[:, 2].tolist() == [0, 9]
