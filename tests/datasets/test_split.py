"""Splits: groups stay together, whatever the dataset; blocks of a scene do not touch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.files import write_raster
from tiledseg import read_dataset
from tiledseg.datasets import (
    Case,
    Dataset,
    Legend,
    cut_blocks,
    given_split,
    split_folds,
    take_census,
)
from tiledseg.datasets._split import _blocks, _dealt
from tiledseg.errors import ConfigError
from tiledseg.labels import ClassSchema

SCHEMA = ClassSchema.of_names(["a", "b"])


def dataset_of(groups: list[str], splits: list[str | None] | None = None) -> Dataset:
    given_ = splits or [None] * len(groups)
    cases = tuple(
        Case(f"c{i}", ("x",), "y", g, s)
        for i, (g, s) in enumerate(zip(groups, given_, strict=True))
    )
    return Dataset("d", cases, SCHEMA, Legend.of_schema(SCHEMA))


@given(
    groups=st.lists(st.sampled_from("pqrstuvw"), min_size=2, max_size=40),
    folds=st.integers(2, 8),
    seed=st.integers(0, 9),
    shuffle=st.randoms(use_true_random=False),
)
def test_folds_are_disjoint_by_group_and_hold_every_case_once(
    groups: list[str], folds: int, seed: int, shuffle
) -> None:
    dataset = dataset_of(groups)
    if folds > len(set(groups)):
        with pytest.raises(ConfigError, match=f"expected 2 to {len(set(groups))}"):
            split_folds(dataset, folds, seed)
        return
    found = split_folds(dataset, folds, seed)
    group_of = {c.name: c.group for c in dataset.cases}
    assert Counter(n for f in found for n in f.held_out) == Counter(list(group_of))
    for fold in found:
        assert fold.held_out
        assert {group_of[n] for n in fold.held_out}.isdisjoint(group_of[n] for n in fold.train)
        assert sorted(fold.held_out + fold.train) == sorted(group_of)
    other = list(dataset.cases)
    shuffle.shuffle(other)
    again = split_folds(Dataset("d", tuple(other), SCHEMA, dataset.legend), folds, seed)
    assert [sorted(f.held_out) for f in again] == [sorted(f.held_out) for f in found]


def test_the_seed_matters_and_is_told() -> None:
    dataset = dataset_of([f"g{i}" for i in range(40)])
    helds = {split_folds(dataset, 5, seed)[0].held_out for seed in range(4)}
    assert len(helds) == 4
    fold = split_folds(dataset, 5, 3)[1]
    assert fold.told().startswith(
        "32 cases for training, 8 held out: fold 1 of 0 to 4 by group, seed 3"
    )
    assert all(f"g{n[1:]}" in fold.how for n in fold.held_out)


@given(seed=st.integers(0, 99))
def test_folds_are_alike_in_classes(seed: int) -> None:
    """Twenty groups, four of which hold all of a rare class: every fold of four gets one."""
    sizes = np.zeros((20, 2))
    sizes[:, 0] = 1 / 20
    sizes[[3, 7, 12, 19], 1] = 1 / 4
    folds = np.array(_dealt(sizes, 4, seed))
    assert sorted(folds[[3, 7, 12, 19]]) == [0, 1, 2, 3]
    assert np.bincount(folds).tolist() == [5, 5, 5, 5]


def test_the_test_split_is_left_alone() -> None:
    dataset = dataset_of(list("abcdef"), ["test", None, "train", "validation", None, "test"])
    names = {n for f in split_folds(dataset, 2) for n in (*f.train, *f.held_out)}
    assert names == {"c1", "c2", "c3", "c4"}
    fold = given_split(dataset)
    assert (fold.train, fold.held_out) == (("c1", "c2", "c4"), ("c3",))
    assert "own split; d held out" in fold.how


def test_the_test_split_is_left_alone_however_it_is_spelt() -> None:
    dataset = dataset_of(list("abcde"), ["Test", "TRAIN", "Valid", " test ", "val"])
    assert [c.split for c in dataset.cases] == ["test", "train", "validation", "test", "validation"]
    assert [c.name for c in dataset.learnable] == ["c1", "c2", "c4"]
    fold = given_split(dataset)
    assert (fold.train, fold.held_out) == (("c1",), ("c2", "c4"))
    assert [c.name for c in dataset.split("VAL").cases] == ["c2", "c4"]


@pytest.mark.parametrize("word", ["testing", "hold-out", "training", ""])
def test_a_split_that_nobody_knows_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"case c1: split .* must be train, validation") as caught:
        dataset_of(["a", "b"], [None, word])
    assert "\n" not in str(caught.value)


def test_a_split_that_separates_a_group_is_refused() -> None:
    with pytest.raises(ConfigError, match="group 'a' has cases in training and in validation"):
        given_split(dataset_of(["a", "a"], [None, "validation"]))
    with pytest.raises(ConfigError, match="0 labelled cases of the split 'validation'"):
        given_split(dataset_of(["a", "a"]))


@given(
    shape=st.lists(st.integers(1, 20), min_size=2, max_size=3).map(tuple),
    side=st.integers(6, 25),
    gap=st.integers(0, 29),
)
def test_blocks_are_apart_by_the_gap_and_cover_the_rest(
    shape: tuple[int, ...], side: int, gap: int
) -> None:
    gap = min(gap, side - 1)
    boxes = _blocks(shape, side, gap)
    count = np.zeros(shape, int)
    for box in boxes:
        assert box.size > 0
        count[box.slices] += 1
    assert count.max() == 1
    if gap == 0:
        assert count.min() == 1
    for one in boxes:
        for other in boxes:
            apart = [
                max(b - c, a - d)
                for a, b, c, d in zip(other.start, one.start, other.stop, one.stop, strict=True)
            ]
            assert one is other or max(apart) >= gap


def test_blocks_of_a_scene_are_cases(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    image, labels = (
        rng.integers(1, 9, (2, 50, 70), np.uint8),
        rng.integers(0, 2, (50, 70), np.uint8),
    )
    write_raster(tmp_path / "a.tif", image)
    write_raster(tmp_path / "l.tif", labels)
    text = "classes: [x, y]\nblocks: {side: 32, gap: 4}\ncases: [{image: a.tif, labels: l.tif}]\n"
    (tmp_path / "set.yaml").write_text(text)
    dataset = read_dataset(tmp_path / "set.yaml")
    assert [c.name for c in dataset.cases] == ["a_0_0", "a_0_32", "a_32_0", "a_32_32"]
    census = take_census(dataset)
    for case in dataset.cases:
        with dataset.open(case) as pair:
            whole = pair.grid.box
            assert (pair.image.read(whole) == image[(slice(None), *case.box.slices)]).all()
            assert (pair.labels.read(whole)[0] == labels[case.box.slices]).all()
            world = pair.grid.index_to_world((0, 0))
            np.testing.assert_allclose(
                world, (400000 + 2 * case.box.start[1], 5000000 - 2 * case.box.start[0])
            )
        counts = np.bincount(labels[case.box.slices].ravel(), minlength=2)
        assert census.cases[case.name].totals.tolist() == counts.tolist()
    assert len(split_folds(dataset, 4, 0, census)) == 4
    with pytest.raises(ConfigError, match="gap must be 0 to 7"):
        cut_blocks(dataset, 8, 8)
