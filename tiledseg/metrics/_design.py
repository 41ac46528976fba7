"""Stratified samples of points: how many, of which class, and where.

Sizes and allocation follow Olofsson et al. 2014, section 5.1 (doi 10.1016/j.rse.2014.02.015).
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError


def sample_size(weights: ArrayLike, users: ArrayLike, standard_error: float) -> int:
    """Return how many points give the overall accuracy with a standard error, equation (13).

    n = (sum W_i S_i / S(O))^2 with S_i = sqrt(U_i (1 - U_i)); the paper's example gives 641:

    >>> sample_size([0.02, 0.015, 0.32, 0.645], [0.7, 0.6, 0.9, 0.95], 0.01)
    641

    Args:
        weights: Share of the map in every class; they sum to 1.
        users: User's accuracy that is expected of every class.
        standard_error: Wanted standard error of the overall accuracy.

    Raises:
        ConfigError: An accuracy lies outside 0 to 1, or the error is not above 0.
    """
    w, u = np.asarray(weights, np.float64), np.asarray(users, np.float64)
    if not ((u >= 0) & (u <= 1)).all() or not standard_error > 0:
        raise ConfigError(
            f"expected accuracies {u.tolist()} must lie in 0 to 1, and the standard error "
            f"{standard_error:g} above 0"
        )
    return max(1, ceil(float((w @ np.sqrt(u * (1 - u)) / standard_error) ** 2)))


def allocate(total: int, weights: ArrayLike, minimum: int = 0) -> list[int]:
    """Share points among classes in proportion to their area, rare classes at least ``minimum``.

    Section 5.1.2 of the paper: what the rare classes take is taken from the others. Rounded by
    largest remainder, so that the sum is ``total``, or more where the minima alone are.

    >>> allocate(641, [0.02, 0.015, 0.32, 0.645])
    [13, 10, 205, 413]
    """
    w = np.asarray(weights, np.float64)
    rare = np.zeros(len(w), np.bool_)
    while True:
        rest = max(0, total - minimum * int(rare.sum()))
        free = np.where(rare | (w == 0), 0.0, w)
        exact = rest * free / free.sum() if free.sum() else free
        low = ~rare & (exact < minimum)
        if not low.any():
            break
        rare |= low
    counts = np.floor(exact).astype(np.int64)
    short = rest - int(counts.sum()) if free.sum() else 0
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[:short]] += 1
    return [int(n) for n in np.where(rare, minimum, counts)]


class StratifiedDraw:
    """Places of a stratified sample: within a class every set of places is equally likely.

    Args:
        held: Samples of every class: label value -> number.
        wanted: Points of every class, at most as many.
        seed: What the draw depends on, besides.

    A place is a rank among the samples of its class, in row-major order, so it does not depend on
    the blocks in which the map is read.
    """

    def __init__(self, held: dict[int, int], wanted: dict[int, int], seed: int) -> None:
        self._ranks = {
            label: np.sort(
                np.random.default_rng([seed, label]).choice(
                    held[label], count, replace=False, shuffle=False
                )
            )
            for label, count in wanted.items()
        }
        self._seen = dict.fromkeys(wanted, 0)

    def take(self, labels: NDArray[Any]) -> list[tuple[int, int]]:
        """Return the points in the next part of the map, read in row-major order without gaps.

        Args:
            labels: Label values, flat; -1 where there is none.

        Returns:
            (place in ``labels``, label value), by place.
        """
        points = []
        for label, ranks in self._ranks.items():
            first = self._seen[label]
            at = labels == label
            self._seen[label] = last = first + int(np.count_nonzero(at))
            low, high = np.searchsorted(ranks, [first, last])
            if high > low:
                places = np.flatnonzero(at)[ranks[low:high] - first]
                points += [(int(place), label) for place in places]
        return sorted(points)
