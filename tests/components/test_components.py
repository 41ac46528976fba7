"""Components do not depend on how a map is read, and are those of the whole map."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label as skimage_label
from skimage.measure import regionprops

from tiledseg.components import component_table, find_components
from tiledseg.errors import ConfigError, GridMismatch
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import MemorySource, open_source

RANKS = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}
NODATA = 255


def ids_of(
    labels: np.ndarray, connectivity: int | None = None, block: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return the component of every sample, 0 where there is none."""
    found = find_components(MemorySource(labels[None], nodata=NODATA), connectivity, block=block)
    ids = np.empty(labels.shape, np.int64)
    for box, values in found.rewritten(np.arange(1, len(found.table) + 1), 0):
        ids[box.slices] = values
    return ids


def whole(labels: np.ndarray, rank: int) -> np.ndarray:
    """Return the same from scipy, class by class, numbered by first samples."""
    near = ndimage.generate_binary_structure(labels.ndim, rank)
    ids, count = np.zeros(labels.shape, np.int64), 0
    for value in np.unique(labels[labels != NODATA]):
        own, many = ndimage.label(labels == value, near)
        ids[own > 0] = own[own > 0] + count
        count += many
    return renumbered(ids)


def renumbered(ids: np.ndarray) -> np.ndarray:
    """Number the components from 1 by their first samples; 0 stays."""
    values, first, at = np.unique(ids, return_index=True, return_inverse=True)
    order = [i for i in np.argsort(first) if values[i] != 0]
    numbers = np.zeros(len(values), np.int64)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[at].reshape(ids.shape)


@st.composite
def maps(draw: st.DrawFn) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """Small maps of few classes with holes in them, a connectivity, and the extent of blocks."""
    ndim = draw(st.integers(2, 3))
    most = 12 if ndim == 2 else 6
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(rng.integers(1, most + 1, ndim).tolist())  # drawn one by one, most are thin
    labels = rng.integers(0, rng.integers(1, 5), shape).astype(np.uint8)
    labels[rng.random(shape) < draw(st.sampled_from((0.0, 0.2)))] = NODATA
    connectivity = draw(st.sampled_from((4, 8) if ndim == 2 else (6, 18, 26)))
    return labels, connectivity, tuple(int(rng.integers(1, n + 1)) for n in shape)


@settings(max_examples=200, deadline=None)
@given(maps())
def test_ids_are_those_of_the_whole_map(case: tuple[np.ndarray, int, tuple[int, ...]]) -> None:
    labels, connectivity, block = case
    ids = ids_of(labels, connectivity, block)
    np.testing.assert_array_equal(ids, whole(labels, RANKS[connectivity]))
    other = np.where(labels == NODATA, 0, labels.astype(np.int32) + 1)
    theirs = skimage_label(other, background=0, connectivity=RANKS[connectivity])
    np.testing.assert_array_equal(ids, renumbered(theirs))


@settings(max_examples=150, deadline=None)
@given(maps())
def test_table_and_borders_do_not_depend_on_the_blocks(
    case: tuple[np.ndarray, int, tuple[int, ...]],
) -> None:
    labels, connectivity, block = case
    rng = np.random.default_rng(0)
    source = MemorySource(labels[None], nodata=NODATA)
    scores = MemorySource(rng.random((1, *labels.shape)).astype(np.float32))
    measures = rng.random(labels.shape[0]) + 0.5
    one, other = (
        find_components(
            source, connectivity, block=b, borders=True, measures=measures, scores=scores
        )
        for b in (block, labels.shape)
    )
    for part in ("table", "borders"):
        a, b = getattr(one, part), getattr(other, part)
        for field in fields(a):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


@settings(max_examples=150, deadline=None)
@given(maps())
def test_borders_are_the_pairs_of_samples(case: tuple[np.ndarray, int, tuple[int, ...]]) -> None:
    """Counted sample by sample: which components touch, by how many sides, and which lie open."""
    labels, connectivity, block = case
    source = MemorySource(labels[None], nodata=NODATA)
    found = find_components(source, connectivity, block=block, borders=True)
    ids = whole(labels, RANKS[connectivity]) - 1
    near, apart = np.indices((3,) * labels.ndim) - 1, RANKS[connectivity]
    steps = [s for s in near.reshape(labels.ndim, -1).T.tolist() if 0 < sum(map(abs, s)) <= apart]
    sides: dict[tuple[int, int], int] = {}
    open_ = set()
    for place in np.ndindex(labels.shape):
        one = int(ids[place])
        if any(p in (0, n - 1) for p, n in zip(place, labels.shape, strict=True)):
            open_.add(one)
        for step in steps:
            there = tuple(p + s for p, s in zip(place, step, strict=True))
            if any(not 0 <= t < n for t, n in zip(there, labels.shape, strict=True)):
                continue
            other = int(ids[there])
            if other < 0:
                open_.add(one)
            elif 0 <= one < other:
                sides[one, other] = sides.get((one, other), 0) + (sum(map(abs, step)) == 1)
    b = found.borders
    pairs = zip(b.one.tolist(), b.other.tolist(), strict=True)
    assert dict(zip(pairs, b.sides.tolist(), strict=True)) == sides
    assert set(np.flatnonzero(found.table.open).tolist()) == open_ - {-1}


def spiral(size: int) -> np.ndarray:
    """Return a line that winds inwards, one sample wide: one component, many pieces per block."""
    line = np.zeros((size, size), np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    line[0, 0] = 1
    turns = 0
    while turns < 2:
        ty, tx, by, bx = y + dy, x + dx, y + 2 * dy, x + 2 * dx
        free = 0 <= ty < size and 0 <= tx < size and not line[ty, tx]
        beyond = 0 <= by < size and 0 <= bx < size and line[by, bx]
        if free and not beyond:
            y, x, turns = ty, tx, 0
            line[y, x] = 1
        else:
            dy, dx, turns = dx, -dy, turns + 1
    return line


@pytest.mark.parametrize("block", [(1, 1), (2, 5), (7, 3), (31, 1), (31, 31)])
def test_a_spiral_is_one_component(block: tuple[int, int]) -> None:
    line = spiral(31)
    assert line.sum() > 400
    assert find_components(MemorySource(line[None]), block=block).table.labels.tolist() == [1, 0]


@pytest.mark.parametrize("block", [(1, 1), (3, 2), (8, 8)])
def test_a_checkerboard_is_one_or_none(block: tuple[int, int]) -> None:
    board = (np.indices((8, 8)).sum(axis=0) % 2).astype(np.uint8)
    source = MemorySource(board[None])
    assert len(find_components(source, 4, block=block).table) == 64
    assert len(find_components(source, 8, block=block).table) == 2


def test_objects_are_those_of_skimage() -> None:
    """Sizes, boxes and centroids in the world; volumes by the grid; mean scores."""
    rng = np.random.default_rng(5)
    labels = ndimage.zoom(rng.integers(0, 4, (9, 8, 7)), 4, order=0).astype(np.uint8)
    grid = Grid.from_centers(labels.shape, (-10.0, 5.0, 3.0), (0.5, 2.0, 1.5), space=PATIENT)
    score = rng.random(labels.shape)
    scores = MemorySource(score[None], grid)
    source = MemorySource(labels[None], grid)
    table = component_table(source, 18, block=(5, 36, 9), scores=scores)
    ids = whole(labels, 2)
    regions = regionprops(ids, score)
    assert table.ids.tolist() == [r.label for r in regions]
    assert table.sizes.tolist() == [int(r.area) for r in regions]
    np.testing.assert_allclose(table.measures, table.sizes * 1.5)
    np.testing.assert_array_equal(np.hstack([table.low, table.high]), [r.bbox for r in regions])
    centres = np.array([r.centroid for r in regions])
    np.testing.assert_allclose(table.centroids, centres[:, ::-1] * (0.5, 2.0, 1.5) + (-10, 5, 3))
    assert table.scores is not None
    np.testing.assert_allclose(table.scores, [r.intensity_mean for r in regions], atol=1e-7)
    first = [np.argwhere(ids == i)[0] for i in table.ids]
    assert table.class_ids.tolist() == [labels[tuple(f)] for f in first]


@pytest.mark.parametrize(
    ("labels", "connectivity", "sentence"),
    [
        (np.zeros((1, 4, 4), np.float32), None, "1 channels of float32, expected one channel of"),
        (np.zeros((3, 4, 4), np.uint8), None, "is not a class map: it has 3 channels"),
        (np.zeros((1, 4, 4), np.uint8), 6, "connectivity 6 does not exist in 2-D; take 4, 8"),
        (np.full((1, 4, 4), -3, np.int16), None, "holds -3 to 0: labels are 0 to 65535"),
        (np.full((1, 4, 4), 70000, np.int32), None, "holds 0 to 70000: labels are 0 to 65535"),
    ],
)
def test_what_is_no_class_map_is_refused(
    labels: np.ndarray, connectivity: int | None, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        find_components(MemorySource(labels), connectivity)


def test_scores_must_be_scores_on_the_maps_grid() -> None:
    source = MemorySource(np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(GridMismatch, match="scores array must lie on the grid"):
        component_table(source, scores=MemorySource(np.zeros((1, 5, 4))))
    with pytest.raises(ConfigError, match=r"hold 0 to 7, expected 0 to 1"):
        component_table(source, scores=MemorySource(np.full((1, 4, 4), 7)))


@pytest.mark.data
def test_real_maps_are_those_of_scipy(data: Path) -> None:
    """A land cover map 's middle, and 117 organs."""
    from tiledseg.box import Box
    from tiledseg.io import CroppedSource

    with open_source(next(data.rglob("cog_cmap.tif"))) as scene:
        part = CroppedSource(scene, Box((3000, 2500), (5048, 4548)))
        labels = part.read(part.grid.box)[0]
        labels[~part.valid(part.grid.box)] = NODATA
        assert len(np.unique(labels)) >= 5
        for connectivity in (4, 8):
            expected = whole(labels, RANKS[connectivity])
            assert expected.max() > 400
            np.testing.assert_array_equal(ids_of(labels, connectivity, (500, 700)), expected)
    organs = next(data.rglob("example_seg_fast_force_split.nii.gz"))
    with open_source(organs) as volume:
        labels = volume.read(volume.grid.box)[0].astype(np.uint8)
    assert len(np.unique(labels)) > 40
    for connectivity in (6, 26):
        expected = whole(labels, RANKS[connectivity])
        np.testing.assert_array_equal(ids_of(labels, connectivity, (40, 33, 50)), expected)


@pytest.mark.slow
def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    """In processes of their own: 268 megapixels take hardly more than 17 do."""
    peaks = []
    for size in (4096, 16384):
        ended = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("peak.py")), str(size)],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(ended.stdout))
    assert peaks[1] < 800 << 20
    assert peaks[1] < peaks[0] + (120 << 20)
