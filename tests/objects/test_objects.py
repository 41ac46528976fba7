"""Objects do not depend on how a map is read, and are those of the whole map."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed

from tiledseg.components import Amounts, Table, block_boxes, find_components
from tiledseg.errors import ConfigError
from tiledseg.io import MemorySource, Scratch
from tiledseg.objects import (
    Centred,
    Cut,
    Heads,
    Split,
    find_centres,
    number,
    split_components,
)

NODATA = 255
Block = tuple[int, ...]


def ids_of(found: object, shape: Block) -> np.ndarray:
    """Return the row of every sample's object from 1, 0 where there is none."""
    ids = np.full(shape, -1, np.int64)
    for box, values in found.rewritten(np.arange(1, len(found.table) + 1), 0):
        ids[box.slices] = values
    assert (ids >= 0).all()
    return ids


def require_table(table: Table, ids: np.ndarray, scores: np.ndarray | None = None) -> None:
    """Count again from the ids what the table tells."""
    values, first = np.unique(ids[ids > 0], return_index=True)
    np.testing.assert_array_equal(values, np.arange(1, len(table) + 1))
    np.testing.assert_array_equal(table.keys, np.flatnonzero(ids.ravel())[first])
    assert (np.diff(table.keys) > 0).all()
    for i, where in enumerate(ndimage.find_objects(ids)):
        own = ids[where] == i + 1
        places = np.argwhere(own) + [s.start for s in where]
        assert table.sizes[i] == own.sum()
        assert table.low[i].tolist() == [s.start for s in where]
        assert table.high[i].tolist() == [s.stop for s in where]
        assert table.moments[i].tolist() == (2 * places + 1).sum(axis=0).tolist()
        if scores is not None:
            mean = table.scores[i] / 2**24 / table.sizes[i]
            assert mean == pytest.approx(scores[where][own].mean(), abs=1e-6)


def blobs(seed: int, shape: Block, many: int, classes: int = 2) -> np.ndarray:
    """Return overlapping discs or balls of some classes."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    at = np.indices(shape)
    for _ in range(many):
        middle = rng.integers(0, shape)
        away = sum((a - m) ** 2 for a, m in zip(at, middle, strict=True))
        labels[away <= rng.integers(2, 7) ** 2] = rng.integers(1, classes + 1)
    labels[rng.random(shape) < 0.01] = NODATA
    return labels


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, Block]:
    """Maps of blobs, a connectivity, and the extent of blocks."""
    ndim = draw(st.integers(2, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 40 if ndim == 2 else 14, ndim).tolist())
    labels = blobs(seed, shape, draw(st.integers(1, 9)))
    connectivity = draw(st.sampled_from((4, 8) if ndim == 2 else (6, 18, 26)))
    return labels, connectivity, tuple(int(rng.integers(1, n + 1)) for n in shape)


def split(
    labels: np.ndarray, connectivity: int, block: Block | None, cut: Cut, scratch: Scratch
) -> Split:
    source = MemorySource(labels[None], nodata=NODATA)
    rng = np.random.default_rng(0)
    scores = MemorySource(rng.random((1, *labels.shape)))
    measures = np.arange(1, len(labels) + 1) / 7
    found = find_components(source, connectivity, block=block, measures=measures, scores=scores)
    amounts = Amounts.of(measures, labels[0].size)
    return split_components(found, found.table.labels > 0, cut, scratch, (amounts, scores))


def seeds_of(level: np.ndarray, mask: np.ndarray, depth: float, near: np.ndarray) -> np.ndarray:
    """Number the first sample of height v in every set above ``v - depth`` where v is highest."""
    seeds = np.zeros(mask.shape, np.int32)
    for v in np.unique(level[mask]):
        sets, many = ndimage.label(mask & (level >= v - depth), near)
        for i in range(1, many + 1):
            inside = sets == i
            if level[inside].max() == v:
                seeds.ravel()[np.flatnonzero(inside & (level == v))[0]] = 1
    seeds[seeds > 0] = np.arange(1, seeds.sum() + 1)
    return seeds


def whole_split(labels: np.ndarray, rank: int, cut: Cut, heights: np.ndarray | None) -> np.ndarray:
    """Split every component of the whole map by what seeds are, and scikit-image's watershed."""
    near = ndimage.generate_binary_structure(labels.ndim, rank)
    ids, count = np.zeros(labels.shape, np.int64), 0
    for value in np.unique(labels[labels != NODATA]):
        own, many = ndimage.label(labels == value, near)
        for i in range(1, many + 1):
            mask, parts = own == i, None
            if value:
                level = heights
                if level is None:
                    level = ndimage.distance_transform_edt(np.pad(mask, 1), cut.spacing)
                    level = level[(slice(1, -1),) * labels.ndim]
                seeds = seeds_of(level, mask, cut.depth, near)
                if seeds.max() > 1:
                    parts = watershed(-level, seeds, connectivity=near, mask=mask)
            parts = mask if parts is None else parts
            ids[mask] = count + parts[mask]
            count += int(parts.max())
    values, first, at = np.unique(ids, return_index=True, return_inverse=True)
    order = [i for i in np.argsort(first) if values[i]]
    numbers = np.zeros(len(values), np.int64)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[at].reshape(ids.shape)


RANKS = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from((0.5, 1.0)), st.booleans())
def test_parts_are_those_of_the_whole_map(
    case: tuple[np.ndarray, int, Block], depth: float, given_heights: bool
) -> None:
    labels, connectivity, block = case
    heights = None
    if given_heights:  # whole numbers: plateaus and ties
        heights = np.random.default_rng(1).integers(0, 6, labels.shape).astype(np.float64) * depth
    source = None if heights is None else MemorySource(heights[None])
    cut = Cut(depth, (1.0, 2.0, 1.0)[: labels.ndim], source)
    with Scratch(Path(tempfile.gettempdir())) as scratch:
        parts = split(labels, connectivity, block, cut, scratch)
        ids = ids_of(parts, labels.shape)
        np.testing.assert_array_equal(ids, whole_split(labels, RANKS[connectivity], cut, heights))
        require_table(parts.table, ids, np.random.default_rng(0).random(labels.shape))
        whole = split(labels, connectivity, labels.shape, cut, scratch)
        for field in fields(Table):
            if field.name != "open":
                one, other = (getattr(p.table, field.name) for p in (parts, whole))
                np.testing.assert_array_equal(one, other)


def test_touching_discs_are_parted_where_they_touch(tmp_path: Path) -> None:
    """A row of discs, 16 samples apart, radius 9: necks of 8 samples between middles of 9."""
    labels = np.zeros((30, 200), np.uint8)
    y, x = np.indices(labels.shape)
    for middle in range(20, 190, 16):
        labels[(y - 15) ** 2 + (x - middle) ** 2 <= 81] = 1
    with Scratch(tmp_path) as scratch:
        parts = split(labels, 4, None, Cut(1.0, (1.0, 1.0)), scratch)
        ids = ids_of(parts, labels.shape)
        discs = [i for i in np.unique(ids) if labels[ids == i].any()]
        assert len(discs) == 11
        for i, middle in zip(discs, range(20, 190, 16), strict=True):
            assert abs(np.argwhere(ids == i)[:, 1].mean() - middle) < 1
        whole = split(labels, 4, None, Cut(9.0, (1.0, 1.0)), scratch)
        assert len(np.unique(ids_of(whole, labels.shape)[labels == 1])) == 1


def test_what_lies_in_the_box_of_another_object_is_left_alone(tmp_path: Path) -> None:
    """A ring of two bulges and thin necks, and a larger disc of its class within."""
    labels = np.zeros((60, 90), np.uint8)
    y, x = np.indices(labels.shape)
    labels[5:8, 10:80] = labels[52:55, 10:80] = 1
    for middle in (10, 80):
        labels[5:55, middle - 3 : middle + 4] = 1
        labels[(y - 30) ** 2 + (x - middle) ** 2 <= 64] = 1
    labels[(y - 30) ** 2 + (x - 45) ** 2 <= 225] = 1
    with Scratch(tmp_path) as scratch:
        cut = Cut(2.0, (1.0, 1.0))
        ids = ids_of(split(labels, 4, (9, 90), cut, scratch), labels.shape)
    np.testing.assert_array_equal(ids, whole_split(labels, 1, cut, None))
    assert len(np.unique(ids[labels == 1])) == 3
    assert ids[30, 10] != ids[30, 80]


def test_boundaries_part_objects_and_what_has_no_heights_is_whole(tmp_path: Path) -> None:
    labels = np.zeros((20, 60), np.uint8)
    labels[2:18, 2:28], labels[2:18, 32:58] = 1, 2
    borders = np.zeros((1, 20, 60))
    borders[0, :, 10] = borders[0, :, 44] = 1
    borders[0, :, 32:] = np.nan
    with Scratch(tmp_path) as scratch:
        cut = Cut(0.5, (1.0, 1.0), MemorySource(borders), falls=True)
        ids = ids_of(split(labels, 4, (7, 11), cut, scratch), labels.shape)
    assert len(np.unique(ids[labels == 1])) == 2
    assert ids[5, 5] != ids[5, 20]
    assert len(np.unique(ids[labels == 2])) == 1


@pytest.mark.parametrize(("depth", "parted"), [(0.9, True), (1.0, False)])
def test_what_has_no_height_is_as_low_as_the_lowest(
    tmp_path: Path, depth: float, parted: bool
) -> None:
    """Two middles of 3 with nothing known between them: a pass of 2."""
    heights = np.array([[[2.0, 3, np.nan, 3, 2], [9, 9, 9, 9, 9]]])
    labels = np.array([[1] * 5, [0] * 5], np.uint8)
    with Scratch(tmp_path) as scratch:
        cut = Cut(depth, (1.0, 1.0), MemorySource(heights))
        ids = ids_of(split(labels, 4, None, cut, scratch), labels.shape)
    assert (ids[0, 1] != ids[0, 3]) == parted


def test_what_has_no_room_is_left_whole_and_told(tmp_path: Path) -> None:
    labels = np.zeros((30, 200), np.uint8)
    y, x = np.indices(labels.shape)
    for middle in (20, 36, 100, 116, 132):
        labels[(y - 15) ** 2 + (x - middle) ** 2 <= 81] = 1
    with Scratch(tmp_path) as scratch:
        cut = Cut(1.0, (1.0, 1.0), most=19 * 35)  # the box of two
        parts = split(labels, 4, None, cut, scratch)
        assert len(parts.left) == 1
        ids = ids_of(parts, labels.shape)
    assert ids[15, 20] != ids[15, 36]
    assert ids[15, 100] == ids[15, 132]


# ---------------------------------------------------------------------------- centres


def heads_of(labels: np.ndarray, middles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a heatmap with ties and offsets of whole numbers, so that aims tie, too."""
    shape = labels.shape
    heat = rng.integers(0, 3, shape) / 20
    heat[tuple(middles.T)] = 0.5
    offsets = rng.integers(-4, 5, (labels.ndim, *shape)).astype(np.float64)
    offsets[:, rng.random(shape) < 0.05] = np.nan
    return np.concatenate([heat[None], offsets])


def brute_centres(heat: np.ndarray, heads: Heads) -> np.ndarray:
    """Look at every sample and its window."""
    found, reach = [], heads.window // 2
    for place in np.ndindex(heat.shape):
        low = [max(0, p - reach) for p in place]
        around = heat[tuple(slice(a, p + reach + 1) for a, p in zip(low, place, strict=True))]
        if heat[place] < heads.least or heat[place] < around.max():
            continue
        first = np.argwhere(around == heat[place]) + low
        if tuple(first[0].tolist()) == place:
            found.append(place)
    return np.array(found, np.int64).reshape(-1, heat.ndim)


def brute_groups(
    labels: np.ndarray, heads: np.ndarray, centres: np.ndarray, things: list[int]
) -> np.ndarray:
    """Go from every sample to its aim, and to the nearest centre, the first of equal ones."""
    codes = np.full(labels.shape, -1, np.int64)
    for place in np.ndindex(labels.shape):
        label = int(labels[place])
        if label == NODATA:
            continue
        if label not in things:
            codes[place] = len(centres) + label
            continue
        aim = np.array(place) + heads[(slice(1, None), *place)]
        if len(centres) and np.isfinite(aim).all():
            codes[place] = ((centres - aim) ** 2).sum(axis=1).argmin()
    return codes


@settings(max_examples=50, deadline=None)
@given(cases(), st.sampled_from((1, 3, 7)), st.sampled_from((0.1, 0.5)))
def test_groups_are_those_of_every_sample_on_its_own(
    case: tuple[np.ndarray, int, Block], window: int, least: float
) -> None:
    labels, _, block = case
    rng = np.random.default_rng(labels.size)
    middles = np.stack([rng.integers(0, n, 4) for n in labels.shape], axis=1)
    values = heads_of(labels, middles, rng)
    values[:, rng.random(labels.shape) < 0.05] = np.nan
    stored = values.copy()
    stored[:, np.isnan(values).all(axis=0)] = 50  # declared: no centre, no offset
    heads = Heads(MemorySource(stored, nodata=50), least, window)
    values[0][np.isnan(values[0])] = -np.inf
    source = MemorySource(labels[None], nodata=NODATA)
    amounts = Amounts.of(np.ones(len(labels)), labels[0].size)
    scores = MemorySource(rng.random((1, *labels.shape)))
    tables, things = [], np.array([1])
    for extent in (block, labels.shape):
        boxes = block_boxes(labels.shape, extent)
        centres = find_centres(heads, boxes)
        np.testing.assert_array_equal(centres, brute_centres(values[0], heads))
        found = Centred.of(source, heads, things, boxes, (amounts, scores))
        ids = ids_of(found, labels.shape)
        expected = brute_groups(labels, values, centres, [1])
        np.testing.assert_array_equal(ids > 0, expected >= 0)
        pairs = np.unique(np.stack([ids[ids > 0], expected[ids > 0]]), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
        require_table(found.table, ids, scores.read(source.grid.box)[0])
        tables.append(found.table)
    for field in fields(Table):
        one, other = (getattr(t, field.name) for t in tables)
        np.testing.assert_array_equal(one, other)


def test_an_object_is_of_the_class_of_most_of_its_samples() -> None:
    labels = np.zeros((9, 30), np.uint8)
    labels[1:8, 1:8], labels[1:4, 1:8] = 1, 2
    labels[1:8, 11:18], labels[1:5, 11:18] = 1, 2
    labels[2:8, 21:28], labels[2:5, 21:28] = 1, 2  # as many: the smaller
    values = np.zeros((3, 9, 30))
    values[0, 4, 4] = values[0, 4, 14] = values[0, 4, 24] = 1
    source = MemorySource(labels[None])
    amounts = Amounts.of(np.ones(9), 30)
    boxes = block_boxes(labels.shape, (4, 30))
    heads = Heads(MemorySource(values))
    found = Centred.of(source, heads, np.array([1, 2]), boxes, (amounts, None))
    assert found.table.labels.tolist() == [0, 1, 2, 1]
    assert found.table.sizes[1:].tolist() == [49, 49, 42]


# ---------------------------------------------------------------------------- numbers


def test_ids_of_things_do_not_depend_on_stuff_and_small_ones_have_none() -> None:
    labels = np.array([[3, 1, 0, 2, 2, 0, 1, 1, 255, 3, 4]], np.uint8)
    found = find_components(MemorySource(labels[None], nodata=NODATA))
    things, stuff = np.array([1, 2]), np.array([3, 4])

    def ids(*arguments: object) -> list[int]:
        made = number(found.table, *arguments)
        out = np.concatenate([v.ravel() for _, v in found.rewritten(made.values, 0)])
        assert made.things == 3 or made.things == 2
        return out.tolist()

    sizes = found.table.sizes
    assert ids(things, stuff[:0], (sizes, 0)) == [0, 1, 0, 2, 2, 0, 3, 3, 0, 0, 0]
    assert ids(things, stuff, (sizes, 2)) == [3, 0, 0, 1, 1, 0, 2, 2, 0, 3, 4]
    made = number(found.table, things, stuff, (sizes, 2))
    assert made.table.labels.tolist() == [2, 1, 3, 4]
    assert made.table.sizes.tolist() == [2, 2, 2, 1]


def test_more_objects_than_ids_are_refused() -> None:
    found = find_components(MemorySource((np.indices((20, 20)).sum(axis=0) % 2)[None]))
    with pytest.raises(ConfigError, match="there are 200 objects, and ids up to 199"):
        number(found.table, np.array([1]), np.array([], int), (found.table.sizes, 0), 199)
    made = number(found.table, np.array([1]), np.array([], int), (found.table.sizes, 0), 200)
    assert made.things == 200
