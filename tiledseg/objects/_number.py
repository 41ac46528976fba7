"""Objects -> ids: things by their first sample, then one segment per class of stuff."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..components import Table
from ..errors import ConfigError

Ints = NDArray[np.int64]

#: The largest id: one less than uint32 holds, as the largest stands for "no truth" in figures.
LARGEST = 2**32 - 2


class Found(Protocol):
    """Objects that were found in a class map."""

    @property
    def table(self) -> Table:
        """What is known of every object, by ascending key."""

    @property
    def unit(self) -> float:
        """What an amount of 1 in the table stands for."""

    def rewritten(self, values: Ints, nodata: int) -> Iterator[tuple[Box, Ints]]:
        """Yield the map's blocks with a value for every object, ``nodata`` where there is none."""


@dataclass(frozen=True)
class Segments:
    """Numbered objects.

    Args:
        table: One a row; the id of a row is its place from 1.
        things: So many of them, the first, are things; the rest is stuff.
        values: Id of every object that was found, 0 where it is none.
    """

    table: Table
    things: int
    values: Ints


def number(
    table: Table, things: Ints, stuff: Ints, least: tuple[Ints, int], most: int = LARGEST
) -> Segments:
    """Give ids to objects.

    Args:
        table: The objects, by ascending key.
        things: Classes whose objects get an id each, in the order of their first samples.
        stuff: Classes that get one id each, after all things, in the order of their first samples.
        least: Size of every object, and the size that things must have; smaller ones are none.
        most: The largest id there may be.

    Raises:
        ConfigError: There are more objects than ids.
    """
    sizes, enough = least
    wanted = np.isin(table.labels, things) & (sizes >= enough)
    rest = np.isin(table.labels, stuff)
    values = np.where(wanted, np.cumsum(wanted), 0)
    count = int(wanted.sum())
    classes, groups = np.unique(table.labels[rest], return_inverse=True)
    merged, places = table.where(rest).merged(len(classes), groups)
    values[rest] = count + 1 + places
    if count + len(merged) > most:
        raise ConfigError(
            f"there are {count + len(merged):,} objects, and ids up to {most:,}; take another "
            "format, fewer classes, or a least size"
        )
    return Segments(Table.joined([table.where(wanted), merged]), count, values)
