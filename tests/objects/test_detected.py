"""Finds of windows are joined to the objects of the whole image, in whatever order they come."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests.objects.test_objects import ids_of, require_table
from tiledseg.box import Box
from tiledseg.components import Amounts, Table
from tiledseg.errors import BudgetExceeded
from tiledseg.io import Scratch
from tiledseg.objects import Detected, Find, Finds


def find(image: tuple[slice, slice] | np.ndarray, label: int = 1, score: float = 0.9) -> Find:
    """Return a find of a mask in the image."""
    (where,) = ndimage.find_objects(np.asarray(image, int))
    box = Box(tuple(s.start for s in where), tuple(s.stop for s in where))
    return Find(label, score, box, np.asarray(image, bool)[where])


def square(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def windows(shape: tuple[int, int], extent: int, stride: int) -> list[Box]:
    starts = [sorted({*range(0, n - extent, stride), n - extent}) for n in shape]
    return [Box((y, x), (y + extent, x + extent)) for y in starts[0] for x in starts[1]]


def cut(mask: np.ndarray, window: Box) -> np.ndarray:
    seen = np.zeros_like(mask)
    seen[window.slices] = mask[window.slices]
    return seen


def detected(
    shape: tuple[int, int],
    finds: list[tuple[Box, list[Find]]],
    folder: Path,
    agree: float = 0.5,
    rows: int = 7,
) -> tuple[np.ndarray, Detected]:
    with Scratch(folder) as scratch:
        held = Finds(shape, scratch)
        for window, some in finds:
            held.add(window, some)
        found = Detected.of(
            held.joined(agree), Amounts.of(np.ones(shape[0]), shape[1]), (rows, shape[1])
        )
        return ids_of(found, shape), found


def town(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return discs and long bars that do not touch, numbered, and the class of each."""
    rng = np.random.default_rng(seed)
    ids, y, x = np.zeros((90, 110), np.int64), *np.indices((90, 110))
    for number in range(1, 40):
        middle, reach = rng.integers(0, (90, 110)), rng.integers(1, 9)
        mask = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 <= reach**2
        if number % 4 == 0:  # longer than a window
            mask = (abs(y - middle[0]) < 3) & (abs(x - middle[1]) < 50)
        if not ids[ndimage.binary_dilation(mask)].any():
            ids[mask] = number
    values, first = np.unique(ids, return_index=True)
    order = [v for v in values[np.argsort(first)] if v]
    lookup = np.zeros(41, np.int64)
    lookup[order] = np.arange(1, len(order) + 1)
    return lookup[ids], rng.integers(1, 3, len(order) + 1)


@pytest.mark.parametrize("seed", range(3))
def test_cut_objects_are_joined_and_told_once(tmp_path: Path, seed: int) -> None:
    """Whatever the windows, their order, and the blocks that are drawn."""
    ids, classes = town(seed)
    rng, tables = np.random.default_rng(seed), []
    for extent, stride, rows in ((40, 24, 7), (40, 30, 90), (64, 50, 1)):
        finds = []
        for window in windows(ids.shape, extent, stride):
            seen = [i for i in np.unique(ids[window.slices]).tolist() if i]
            finds.append(
                (window, [find(cut(ids == i, window), int(classes[i]), 0.5) for i in seen])
            )
        rng.shuffle(finds)
        found, made = detected(ids.shape, finds, tmp_path, rows=rows)
        np.testing.assert_array_equal(found, ids)
        assert made.table.labels.tolist() == classes[1:].tolist()
        require_table(made.table, found, 0.5 * np.ones(ids.shape))
        tables.append(made.table)
    for field in fields(Table):
        for other in tables[1:]:
            one = getattr(tables[0], field.name)
            np.testing.assert_array_equal(one, getattr(other, field.name))


LEFT, RIGHT = Box((0, 0), (20, 30)), Box((0, 20), (20, 50))


def test_what_two_windows_tell_twice_is_that_of_the_higher_score(tmp_path: Path) -> None:
    """Not the same masks: of the better one all samples, and no other."""
    one = square((20, 50), slice(5, 10), slice(22, 28))
    other = square((20, 50), slice(5, 11), slice(23, 28))
    for pair in ((0.9, 0.8), (0.7, 0.8)):
        finds = [(LEFT, [find(one, 1, pair[0])]), (RIGHT, [find(other, 1, pair[1])])]
        for order in (finds, finds[::-1]):
            ids, made = detected((20, 50), order, tmp_path)
            np.testing.assert_array_equal(ids, one if pair[0] > pair[1] else other)
            assert made.joined.scores.tolist() == [max(pair)]


def test_what_reaches_the_border_of_the_image_is_whole(tmp_path: Path) -> None:
    one = square((20, 50), slice(0, 10), slice(22, 28))
    other = square((20, 50), slice(0, 11), slice(22, 28))
    ids, _ = detected(
        (20, 50), [(LEFT, [find(one, 1, 0.9)]), (RIGHT, [find(other, 1, 0.8)])], tmp_path
    )
    np.testing.assert_array_equal(ids, one)


@pytest.mark.parametrize(("agree", "objects"), [(0.6, 1), (0.61, 2)])
def test_cut_objects_are_one_from_a_share_on(tmp_path: Path, agree: float, objects: int) -> None:
    """In the ten columns that are shared one has 10 x 5 samples, the other 10 x 3 of them."""
    one = square((20, 50), slice(5, 10), slice(10, 30))
    other = square((20, 50), slice(5, 8), slice(20, 40))
    finds = [(LEFT, [find(one, 1, 0.8)]), (RIGHT, [find(other, 1, 0.9)])]
    ids, made = detected((20, 50), finds, tmp_path, agree)
    assert len(made.table) == objects
    np.testing.assert_array_equal(ids > 0, one | other)
    if objects == 2:
        assert (ids[other] == ids[5, 39]).all()  # of the higher score


def test_classes_stay_apart_and_what_is_covered_is_none(tmp_path: Path) -> None:
    whole = square((20, 50), slice(5, 10), slice(10, 40))
    inner = square((20, 50), slice(6, 8), slice(12, 15))
    finds = [
        (LEFT, [find(cut(whole, LEFT), 1, 0.9), find(inner, 1, 0.3)]),
        (RIGHT, [find(cut(whole, RIGHT), 2, 0.8)]),
    ]
    ids, made = detected((20, 50), finds, tmp_path)
    assert made.table.labels.tolist() == [1, 2]
    assert made.table.sizes.tolist() == [5 * 20, 5 * 10]
    assert (ids[5:10, 20:30] == 1).all()


def test_nothing_found_is_no_object_and_too_much_is_refused(tmp_path: Path) -> None:
    ids, made = detected((20, 50), [(LEFT, []), (RIGHT, [])], tmp_path)
    assert not ids.any()
    assert len(made.table) == 0
    one = find(square((20, 50), slice(5, 10), slice(10, 20)))
    with Scratch(tmp_path) as scratch:
        held = Finds((20, 50), scratch, most=2)
        held.add(LEFT, [one, one])
        with pytest.raises(BudgetExceeded, match="3 objects in windows or more, and memory for 2"):
            held.add(RIGHT, [one])
