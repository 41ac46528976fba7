"""Honest splits: what belongs together is never on both sides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..errors import ConfigError
from ._case import VALIDATION, Case
from ._census import Census
from ._dataset import Dataset


@dataclass(frozen=True, slots=True)
class Split:
    """What is learned from, and what is held out.

    Args:
        train: Names of the cases that are learned from.
        held_out: Names of those that are held out; no group has cases in both.
        how: How they were divided, in words for a model card.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    how: str

    def told(self) -> str:
        """Return the division as a model card states it."""
        return f"{len(self.train)} cases for training, {len(self.held_out)} held out: {self.how}"


def split_folds(
    dataset: Dataset, folds: int, seed: int = 0, census: Census | None = None
) -> tuple[Split, ...]:
    """Divide the labelled cases into folds, each held out once.

    Groups stay together. They are dealt out, the largest first, each to the fold that makes the
    folds most alike: in cases and, with a census, in samples of every class. The seed decides
    between groups of one size. The order of the dataset does not matter. Cases of the split
    ``test`` are in no fold.

    Args:
        dataset: The cases.
        folds: How many, 2 to the number of groups.
        seed: Of the order of groups alike.
        census: What the cases hold.

    Raises:
        ConfigError: There are fewer groups than folds.
    """
    cases = dataset.learnable
    groups = sorted({c.group for c in cases})
    if not 2 <= folds <= len(groups):
        raise ConfigError(
            f"{folds} folds of dataset {dataset.name}: expected 2 to {len(groups)}, the number of "
            "groups of labelled cases; ask for fewer, or cut scenes into blocks"
        )
    fold_of = dict(zip(groups, _dealt(_sizes(cases, groups, census), folds, seed), strict=True))
    by = "group" if census is None else "group, classes alike"
    return tuple(
        Split(
            train=tuple(c.name for c in cases if fold_of[c.group] != number),
            held_out=tuple(c.name for c in cases if fold_of[c.group] == number),
            how=f"fold {number} of 0 to {folds - 1} by {by}, seed {seed}; held-out groups: "
            + _listed(g for g in groups if fold_of[g] == number),
        )
        for number in range(folds)
    )


def given_split(dataset: Dataset) -> Split:
    """Return the split that the dataset brings: ``validation`` is held out, ``test`` left alone.

    Raises:
        ConfigError: No case is held out or none is left to learn from, or a group is on both sides.
    """
    held = [c for c in dataset.learnable if c.split == VALIDATION]
    train = [c for c in dataset.learnable if c.split != VALIDATION]
    if not held or not train:
        raise ConfigError(
            f"dataset {dataset.name} has {len(held)} labelled cases of the split {VALIDATION!r} "
            f"and {len(train)} to learn from; divide it by folds instead"
        )
    both = sorted({c.group for c in held} & {c.group for c in train})
    if both:
        raise ConfigError(
            f"dataset {dataset.name}: group {both[0]!r:.80} has cases in training and in "
            f"{VALIDATION}; move all of them to one side"
        )
    return Split(
        train=tuple(c.name for c in train),
        held_out=tuple(c.name for c in held),
        how=f"the dataset's own split; {_listed({c.group for c in held})} held out",
    )


def cut_blocks(dataset: Dataset, side: int, gap: int = 0) -> Dataset:
    """Return a dataset whose cases are blocks of the scenes, each a group of its own.

    So a single scene can be divided into folds. Neighbouring samples are alike: a gap keeps what is
    held out apart from what is learned from; what lies in it belongs to no case.

    Args:
        dataset: The scenes; they are opened to know their sizes.
        side: Samples from block to block along every axis.
        gap: Samples between two blocks, less than ``side``.

    Raises:
        ConfigError: A scene cannot be opened, or no block is left.
    """
    if not 0 <= gap < side:
        raise ConfigError(f"blocks: gap must be 0 to {side - 1}, less than side, found {gap}")
    found: list[Case] = []
    for case in dataset.cases:
        with dataset.open_image(case) as image:
            shape, first = image.grid.shape, (0,) * image.grid.ndim
        first = first if case.box is None else case.box.start
        for box in _blocks(shape, side, gap):
            name = "_".join([case.name, *map(str, box.start)])
            found.append(replace(case, name=name, group=name, box=box.shift(first)))
    return replace(dataset, cases=tuple(found))


def _blocks(shape: tuple[int, ...], side: int, gap: int) -> list[Box]:
    """Cut an image at multiples of ``side``; what would be narrower than half joins the last.

    >>> [(b.start, b.stop) for b in _blocks((10, 14), 8, 2)]
    [((0, 0), (10, 6)), ((0, 8), (10, 14))]
    """
    spans = []
    for n in shape:
        starts = list(range(0, max(1, n - side // 2), side))
        stops = [*(s - gap for s in starts[1:]), n]
        spans.append(list(zip(starts, stops, strict=True)))
    return [Box(tuple(a for a, _ in p), tuple(b for _, b in p)) for p in product(*spans)]


def _sizes(
    cases: tuple[Case, ...], groups: list[str], census: Census | None
) -> NDArray[np.float64]:
    """Return what every group has of everything that folds are to be alike in: shares of all."""
    width = 1 if census is None else 1 + len(census.schema.unique)
    sizes = np.zeros((len(groups), width))
    place = {group: i for i, group in enumerate(groups)}
    for case in cases:
        counts = [] if census is None else census.cases[case.name].totals.tolist()
        sizes[place[case.group]] += [1, *counts]
    return np.asarray(sizes / np.maximum(sizes.sum(axis=0), 1))


def _dealt(sizes: NDArray[np.float64], folds: int, seed: int) -> list[int]:
    """Return the fold of every group."""
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled].sum(axis=1), kind="stable")]
    held = np.zeros((folds, sizes.shape[1]))
    fold_of = [0] * len(sizes)
    for group in order:  # every group is a case at least, so a fold without any comes first
        after = ((held + sizes[group]) ** 2).sum(axis=1) - (held**2).sum(axis=1)
        fold = int(after.argmin())
        held[fold] += sizes[group]
        fold_of[group] = fold
    return fold_of


def _listed(groups: Iterable[str]) -> str:
    """Return the names of groups, the first ten."""
    names = sorted(groups)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
