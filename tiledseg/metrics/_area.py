"""Accuracy and area from a stratified sample of points, after Olofsson et al. 2014.

"Good practices for estimating area and assessing accuracy of land change", Remote Sensing of
Environment 148, doi 10.1016/j.rse.2014.02.015. The strata are the map's classes. Equations are
numbered as there; n_ij points of map class i have truth j, W_i is the share of the map in class i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError

Figures = NDArray[np.float64]

#: Standard errors that a 95 % interval reaches to either side, as the paper rounds it.
Z = 1.96


@dataclass(frozen=True)
class AreaEstimates:
    """What a stratified sample says of a map. Errors are standard errors; an interval is `Z` wide.

    Args:
        proportions: Estimated error matrix p_ij of area shares, (q, q): map rows, truth columns.
        overall: Overall accuracy and its error.
        users: User's accuracy (precision) per class and its error, (2, q).
        producers: Producer's accuracy (recall) per class and its error, (2, q).
        areas: Area of each class in the truth and its error, (2, q), in the unit of ``mapped``.
        mapped: Area of each class in the map, (q,).
    """

    proportions: Figures
    overall: tuple[float, float]
    users: Figures
    producers: Figures
    areas: Figures
    mapped: Figures


def estimate_areas(counts: ArrayLike, mapped: ArrayLike, names: list[str]) -> AreaEstimates:
    """Estimate accuracies and areas.

    Args:
        counts: Points, (q, q): rows are the map's classes, columns the truth's.
        mapped: Area of every class in the map (q,), in any unit; 0 for classes of the truth only.
        names: What the classes are called.

    Raises:
        ConfigError: A class of the map has fewer than two points, so nothing can be said of it.
    """
    n, areas = np.asarray(counts, np.float64), np.asarray(mapped, np.float64)
    points = n.sum(axis=1)
    _require_points(points, areas, names)
    weights = areas / areas.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(points[:, None] > 0, n / points[:, None], 0.0)  # n_ij / n_i.
        p = weights[:, None] * shares  # (4)
        users = np.where(points > 0, np.diagonal(p) / p.sum(axis=1), np.nan)  # (2)
        producers = np.diagonal(p) / p.sum(axis=0)  # (3)
    spread = _spread(shares, points)  # n_ij/n_i. (1 - n_ij/n_i.) / (n_i. - 1)
    own = np.diagonal(spread)
    overall = float(np.trace(p)), float(np.sqrt((weights**2 * own).sum()))  # (1), (5)
    users_error = np.where(points > 0, np.sqrt(own), np.nan)  # (6)
    squares = areas[:, None] ** 2 * spread
    others = squares.sum(axis=0) - np.diagonal(squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        estimated = areas.sum() * p.sum(axis=0)  # (9), (11): the estimated total of truth j
        inner = np.diagonal(squares) * (1 - producers) ** 2 + producers**2 * others
        producers_error = np.sqrt(inner) / estimated  # (7)
    area_errors = np.sqrt(squares.sum(axis=0))  # (10) times the total area
    return AreaEstimates(
        p,
        overall,
        np.stack([users, users_error]),
        np.stack([producers, producers_error]),
        np.stack([estimated, area_errors]),
        areas,
    )


def _spread(shares: Figures, points: Figures) -> Figures:
    free = np.maximum(points - 1, 1)[:, None]
    spread: Figures = np.where(points[:, None] > 1, shares * (1 - shares) / free, 0.0)
    return spread


def _require_points(points: Figures, areas: Figures, names: list[str]) -> None:
    few = [
        f"{name!r} (has {count:.0f})"
        for name, count, area in zip(names, points, areas, strict=True)
        if area > 0 and count < 2
    ]
    if few:
        raise ConfigError(
            f"every class of the map needs at least 2 points with a truth, too few are in "
            f"{', '.join(few)}; fill in more points, or draw more with tiledseg sample"
        )


def interval(estimate: Any, error: Any) -> tuple[Figures, Figures]:
    """Return both ends of the 95 % interval of estimates with these standard errors."""
    estimate, error = np.asarray(estimate, np.float64), np.asarray(error, np.float64)
    return estimate - Z * error, estimate + Z * error
