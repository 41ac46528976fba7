"""Where patches are drawn: class first, then a block of a case that holds it, then a sample in it.

Every labelled sample of a class has the same chance, whatever case and block it lies in; or every
group of cases has, and within it every sample. Only the census is in memory; the labels of one
block are read to find the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..datasets import CaseCensus
from ..errors import ConfigError
from ..labels import ClassSchema

#: Reads class ids of a box, (*box.shape).
ReadIds = Callable[[Box], NDArray[Any]]


@dataclass(frozen=True)
class Draw:
    """A sample that a patch is to hold, as far as the census tells it.

    Args:
        case: Number of the case.
        block: Box on the case's own grid in which it lies.
        id: Class id of the sample, or None: of any class.
        nth: Which of the samples of that class in the block, in array order.
    """

    case: int
    block: Box
    id: int | None
    nth: int

    def find(self, read: ReadIds, nodata: int) -> tuple[int, ...]:
        """Return the sample's index on the case's own grid.

        Raises:
            ConfigError: There are fewer of them than the census counted: the labels changed.
        """
        ids = read(self.block)
        wanted = ids != nodata if self.id is None else ids == self.id
        found = np.flatnonzero(wanted)
        if self.nth >= len(found):
            raise ConfigError(
                f"labels changed since they were counted: {self.block} held more than {self.nth} "
                f"samples of class {self.id}, and holds {len(found)}; start again with --fresh"
            )
        inside = np.unravel_index(found[self.nth], ids.shape)
        return tuple(int(a + i) for a, i in zip(self.block.start, inside, strict=True))


class _Pool:
    """Cases of which every labelled sample of a class has the same chance.

    Args:
        cases: Number of every case, and what it holds.
    """

    def __init__(self, cases: Sequence[tuple[int, CaseCensus]]) -> None:
        self._cases = tuple(cases)
        flat = [c.counts.reshape(-1, c.counts.shape[-1]).astype(np.int64) for _, c in cases]
        of_class = np.concatenate(flat)
        #: Blocks up to the end of every case.
        self._ends = np.cumsum([len(c) for c in flat])
        #: Samples up to every block, a column per class and one for all of them.
        self._sums: NDArray[np.int64] = np.cumsum(
            np.column_stack([of_class, of_class.sum(1)]), axis=0
        )
        ends = self._sums[self._ends - 1]
        #: Samples of each class, and of all of them, in every case: (cases, classes + 1).
        self.by_case: NDArray[np.int64] = np.diff(ends, axis=0, prepend=np.zeros_like(ends[:1]))
        #: The same in all cases: (classes + 1,).
        self.totals: NDArray[np.int64] = self._sums[-1]

    def draw(self, rng: np.random.Generator, column: int) -> tuple[int, Box, int]:
        """Return the case's number, the block, and which of the column's samples in it."""
        sums = self._sums[:, column]
        which = int(rng.integers(sums[-1]))
        place = int(np.searchsorted(sums, which, side="right"))
        nth = which - (int(sums[place - 1]) if place else 0)
        at = int(np.searchsorted(self._ends, place, side="right"))
        number, found = self._cases[at]
        first = int(self._ends[at - 1]) if at else 0
        block = np.unravel_index(place - first, found.counts.shape[:-1])
        return number, found.box(tuple(map(int, block))), nth


class Sampler:
    """Draws samples by class.

    Args:
        cases: What every case holds.
        schema: The classes.
        shares: Share of the draws by class name; the rest is of any class. ``balanced``: equal
            shares of all classes that have labelled samples.
        groups: Group of every case: each that has the class has the same chance, however large it
            is. None: every sample has.

    Raises:
        ConfigError: A class of the shares is not known or has no labelled sample, or none has.
    """

    def __init__(
        self,
        cases: Sequence[CaseCensus],
        schema: ClassSchema,
        shares: Mapping[str, float] | str,
        groups: Sequence[str] | None = None,
    ) -> None:
        pools: dict[str, list[tuple[int, CaseCensus]]] = {}
        for number, case in enumerate(cases):
            pools.setdefault("" if groups is None else groups[number], []).append((number, case))
        self._pools = [_Pool(members) for members in pools.values()]
        self._ids = [c.id for c in schema.unique]
        totals = np.sum([pool.totals for pool in self._pools], axis=0)
        self.totals = {c.name: int(n) for c, n in zip(schema.unique, totals, strict=False)}
        if not totals[-1]:
            raise ConfigError("the cases to train on have no labelled sample: label some of them")
        self._limits = np.cumsum(self._shares(shares))

    def _shares(self, shares: Mapping[str, float] | str) -> list[float]:
        """Return the share of every class, in the order of the columns.

        Raises:
            ConfigError: A class is not known, or has no labelled sample.
        """
        there = [name for name, total in self.totals.items() if total]
        if isinstance(shares, str):
            shares = dict.fromkeys(there, 1 / len(there))
        for name, share in shares.items():
            if name not in self.totals:
                raise ConfigError(
                    f"patches.shares: there is no class {name!r:.80}; the classes are "
                    f"{', '.join(self.totals)}"
                )
            if share and name not in there:
                raise ConfigError(
                    f"patches.shares: {share:g} of the patches are to hold {name!r:.80}, but no "
                    "labelled sample of the cases to train on is of that class; leave it out, or "
                    "label some"
                )
        return [shares.get(name, 0.0) for name in self.totals]

    def draw(self, rng: np.random.Generator) -> Draw:
        """Return a sample to hold."""
        # beyond the shares: the column of any class
        column = int(np.searchsorted(self._limits, rng.random(), side="right"))
        pools = [pool for pool in self._pools if pool.totals[column]]
        # one pool takes no random number, so draws without groups are those of earlier versions
        pool = pools[0] if len(pools) == 1 else pools[int(rng.integers(len(pools)))]
        case, block, nth = pool.draw(rng, column)
        return Draw(case, block, None if column == len(self._ids) else self._ids[column], nth)

    def median_frequencies(self) -> dict[str, float]:
        """Return the weight of every class by median-frequency balancing; 1 where it is nowhere.

        A class' frequency is its samples over all labelled samples of the cases that have it
        (Eigen and Fergus 2015, section 4.1.3); its weight is the median frequency over its own.
        """
        cases = np.concatenate([pool.by_case for pool in self._pools])
        own, whole = cases[:, :-1], cases[:, -1:]
        seen = (whole * (own > 0)).sum(0)
        share = own.sum(0) / np.maximum(seen, 1)
        median = float(np.median(share[share > 0]))
        weights = np.where(share > 0, median / np.where(share > 0, share, 1), 1.0)
        return {name: float(w) for name, w in zip(self.totals, weights, strict=True)}
