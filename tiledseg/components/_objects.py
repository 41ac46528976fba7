"""The components of a class map as a table of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from ..io import Source
from ._find import find_components
from ._table import SCORE_PARTS, Table


@dataclass(frozen=True)
class Objects:
    """Components, one a row, by ascending id.

    Args:
        ids: From 1: the rank of the component's first sample in the raveled map.
        class_ids: Label.
        sizes: Samples.
        measures: Area or volume in the unit of the measures that were given, or the grid's own.
        low: First index along every axis, (n, axes).
        high: One past the last index along every axis, (n, axes).
        centroids: Mean of the samples' centres in the world, (n, axes), x first.
        scores: Mean score of the samples, or None where no scores were given.
    """

    ids: NDArray[np.int64]
    class_ids: NDArray[np.int32]
    sizes: NDArray[np.int64]
    measures: NDArray[np.float64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    centroids: NDArray[np.float64]
    scores: NDArray[np.float64] | None

    @classmethod
    def of(cls, table: Table, unit: float, grid: Grid, scored: bool = False) -> Objects:
        """Return the objects of a table, which are on a grid and counted in a unit."""
        middles = table.moments / (2.0 * table.sizes[:, np.newaxis])
        return cls(
            np.arange(1, len(table) + 1),
            table.labels,
            table.sizes,
            table.amounts.astype(np.float64) * unit,
            table.low,
            table.high,
            grid.index_to_world(middles),
            table.scores / (float(SCORE_PARTS) * table.sizes) if scored else None,
        )


def component_table(source: Source, connectivity: int | None = None, **settings: Any) -> Objects:
    """Return the objects of a class map.

    Args:
        source: The class map.
        connectivity: 4 or 8 in 2-D; 6, 18 or 26 in 3-D; None takes 4 or 6.
        settings: Those of `find_components`: ``block``, ``measures``, ``scores``, ``on_share``.

    Raises:
        ConfigError: The source is no class map, or the connectivity does not exist.
        GridMismatch: The scores lie elsewhere.
        DamagedInput: The map cannot be read.
    """
    found = find_components(source, connectivity, **settings)
    return Objects.of(found.table, found.unit, source.grid, settings.get("scores") is not None)
