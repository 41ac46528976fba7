"""Surfaces are those of scikit-image on the whole volume, whatever it is read in, and closed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import marching_cubes

from tiledseg.errors import ConfigError
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import MemorySource
from tiledseg.meshes import FoundSurfaces, Mesh, find_surfaces
from tiledseg.testing.strategies import grids

ALL = np.arange(1 << 16) > 0


def found(
    labels: np.ndarray, grid: Grid, folder: Path, block: tuple[int, int, int] | None = None
) -> FoundSurfaces:
    return find_surfaces(MemorySource(labels[np.newaxis], grid), ALL, folder, block=block)


def triangles(corners: np.ndarray) -> set[tuple[int, ...]]:
    """Return triangles, (m, 3, 3) in half voxels, each from its smallest corner on."""
    whole = np.rint(corners * 2).astype(np.int64)
    assert np.abs(corners * 2 - whole).max(initial=0) < 1e-3
    rows = [tuple(map(tuple, corners)) for corners in whole.tolist()]
    turned = [min(r, r[1:] + r[:1], r[2:] + r[:2]) for r in rows]
    assert len(set(turned)) == len(turned)
    return set(turned)


def those_of_skimage(voxels: np.ndarray) -> set[tuple[int, ...]]:
    """Return the triangles on the whole volume, in index coordinates (x, y, z), outwards."""
    padded = np.pad(voxels, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, 0.5, allow_degenerate=False)
    corners = (vertices[faces] - 0.5)[:, :, ::-1].astype(np.float64)
    inwards = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) < 0
    return triangles(corners[:, ::-1] if inwards else corners)


def open_edges(mesh: Mesh) -> int:
    """Return how many edges are not run along as often one way as the other."""
    ways = np.concatenate([mesh.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]).astype(int)
    there, back = ways @ [len(mesh.vertices), 1], ways[:, ::-1] @ [len(mesh.vertices), 1]
    edges = np.unique(np.concatenate([there, back]))
    more = np.searchsorted(np.sort(there), edges, "right") - np.searchsorted(np.sort(there), edges)
    less = np.searchsorted(np.sort(back), edges, "right") - np.searchsorted(np.sort(back), edges)
    return int((more != less).sum())


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    block=st.tuples(*[st.integers(1, 8)] * 3),
    classes=st.integers(1, 3),
)
def test_triangles_are_those_of_the_whole_volume(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    shape: tuple[int, int, int],
    block: tuple[int, int, int],
    classes: int,
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes + 1, shape).astype(np.uint8)
    folder = tmp_path_factory.getbasetemp()
    grid = Grid.local(shape)
    with found(labels, grid, folder, block) as parts, found(labels, grid, folder) as whole:
        for label in range(1, classes + 1):
            mesh, other = parts.mesh(label), whole.mesh(label)
            np.testing.assert_array_equal(mesh.vertices, other.vertices)
            np.testing.assert_array_equal(mesh.faces, other.faces)
            assert parts.voxels[label] == (labels == label).sum()
            if parts.voxels[label]:
                assert triangles(mesh.vertices[mesh.faces]) == those_of_skimage(labels == label)
                assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), grid=grids(3))
def test_surfaces_are_closed_and_look_outwards(
    tmp_path_factory: pytest.TempPathFactory, seed: int, grid: Grid
) -> None:
    """On every kind of grid, left-handed ones too, noise at the border included."""
    labels = (np.random.default_rng(seed).random(grid.shape) < 0.5).astype(np.uint8)
    labels[0, 0, 0] = 1
    with found(labels, grid, tmp_path_factory.getbasetemp()) as surfaces:
        mesh = surfaces.mesh(1)
    assert open_edges(mesh) == 0
    assert mesh.volume > 0


def ball(spacing: tuple[float, float, float] = (0.7, 0.8, 2.5)) -> tuple[np.ndarray, Grid]:
    """Return a ball of 12 mm in an oblique, left-handed grid."""
    c, s = np.cos(0.3), np.sin(0.3)
    direction = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([1, -1, 1])
    grid = Grid.from_centers((40, 50, 50), (5.0, -7.0, 11.0), spacing, direction, PATIENT)
    z, y, x = np.mgrid[:40, :50, :50]
    inside = ((z - 20) * 2.5) ** 2 + ((y - 25) * 0.8) ** 2 + ((x - 25) * 0.7) ** 2 < 12**2
    return inside.astype(np.uint8), grid


@pytest.fixture(scope="module")
def round_mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    with found(*ball(), tmp_path_factory.getbasetemp()) as surfaces:
        return surfaces.mesh(1)


def test_a_ball_has_its_volume_and_place(round_mesh: Mesh) -> None:
    labels, grid = ball()
    assert round_mesh.volume == pytest.approx(labels.sum() * 0.7 * 0.8 * 2.5, rel=0.02)
    middle = grid.index_to_world((20.5, 25.5, 25.5))
    np.testing.assert_allclose(round_mesh.vertices.mean(axis=0), middle, atol=0.1)
    assert np.abs(np.linalg.norm(round_mesh.vertices - middle, axis=1) - 12).max() < 1.3


def test_smoothing_takes_stairs_and_keeps_the_volume(round_mesh: Mesh) -> None:
    smooth = round_mesh.smoothed(10)
    assert open_edges(smooth) == 0
    assert smooth.volume == pytest.approx(round_mesh.volume, rel=0.01)
    assert smooth.area < 0.95 * round_mesh.area
    true = 4 * np.pi * 12**2
    assert abs(smooth.area - true) < abs(round_mesh.area - true) / 2


def test_a_pass_of_smoothing_is_taubins(round_mesh: Mesh) -> None:
    """Against a matrix of neighbours, made of the set of edges."""
    from scipy.sparse import csr_array

    n = len(round_mesh.vertices)
    edges = {tuple(f[i] for i in pair) for f in round_mesh.faces.tolist() for pair in PAIRS}
    one, other = np.array(sorted(edges)).T
    near = csr_array((np.ones(len(one)), (one, other)), (n, n))
    step = csr_array(near / near.sum(axis=1)[:, None]) - csr_array(np.eye(n))
    moved = round_mesh.vertices
    for factor in (0.5, -1 / 1.9):
        moved = moved + factor * (step @ moved)
    np.testing.assert_allclose(round_mesh.smoothed(1).vertices, moved, atol=1e-9)


PAIRS = ((0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2))


def test_decimation_keeps_surfaces_closed(round_mesh: Mesh) -> None:
    fewer = round_mesh.decimated(0.5)
    assert len(fewer.faces) == pytest.approx(len(round_mesh.faces) / 2, rel=0.01)
    assert open_edges(fewer) == 0
    assert fewer.volume == pytest.approx(round_mesh.volume, rel=0.01)


@pytest.mark.parametrize("extent", [1, 2, 3])
def test_a_small_surface_never_vanishes(tmp_path: Path, extent: int) -> None:
    voxels = np.ones((extent,) * 3, np.uint8)
    with found(
        voxels, Grid.from_centers(voxels.shape, (0, 0, 0), (1, 1, 1), space=PATIENT), tmp_path
    ) as surfaces:
        fewer = surfaces.mesh(1).decimated(0.99)
    assert len(fewer.faces) >= 4
    assert open_edges(fewer) == 0


def test_a_fitted_surface_encloses_what_it_is_told(round_mesh: Mesh) -> None:
    for share in (0.9, 1.0, 1.1):
        fitted = round_mesh.fitted(share * round_mesh.volume, 1.0)
        assert fitted.volume == pytest.approx(share * round_mesh.volume, rel=1e-5)
        np.testing.assert_array_equal(fitted.faces, round_mesh.faces)
        away = np.linalg.norm(fitted.vertices - round_mesh.vertices, axis=1)
        assert np.ptp(away) < 1e-5
        assert away[0] == pytest.approx(abs(share - 1) * 12 / 3, rel=0.15)  # of a ball's radius
    far = round_mesh.fitted(9 * round_mesh.volume, 0.25)
    away = np.linalg.norm(far.vertices - round_mesh.vertices, axis=1)
    np.testing.assert_allclose(away, 0.25, rtol=1e-5)


def test_one_voxel_is_fitted(tmp_path: Path) -> None:
    grid = Grid.from_centers((1, 1, 1), (0, 0, 0), (0.7, 0.8, 1), space=PATIENT)
    with found(np.ones((1, 1, 1), np.uint8), grid, tmp_path) as surfaces:
        mesh = surfaces.mesh(1)
    assert mesh.volume == pytest.approx(0.56 / 6)
    assert mesh.fitted(0.56, 0.35).volume == pytest.approx(0.56, rel=1e-5)


def test_normals_look_outwards(round_mesh: Mesh) -> None:
    _, grid = ball()
    outwards = round_mesh.vertices - grid.index_to_world((20.5, 25.5, 25.5))
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    normals = round_mesh.smoothed(10).normals()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert np.median((normals * outwards).sum(axis=1)) > 0.98


def test_nodata_and_labels_not_wanted_have_no_surface(tmp_path: Path) -> None:
    labels = np.zeros((1, 4, 4, 4), np.uint8)
    labels[0, 1], labels[0, 2] = 7, 9
    source = MemorySource(labels, Grid.local((4, 4, 4)), nodata=9)
    with find_surfaces(source, ALL & (np.arange(1 << 16) != 5), tmp_path) as surfaces:
        assert np.flatnonzero(surfaces.voxels).tolist() == [7]
        assert np.flatnonzero(surfaces.cubes).tolist() == [7]
        assert len(surfaces.mesh(9).faces) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="surfaces are made of volumes; make polygons"):
        find_surfaces(MemorySource(np.zeros((1, 4, 4), np.uint8)), ALL, tmp_path)


def test_the_file_is_closed_after_a_fault(tmp_path: Path) -> None:
    labels = np.full((1, 2, 2, 2), 70_000, np.int32)
    with pytest.raises(ConfigError, match="labels are 0 to 65535"):
        found(labels[0], Grid.local((2, 2, 2)), tmp_path)
