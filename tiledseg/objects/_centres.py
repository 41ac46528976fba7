"""Things grouped around centres, as a network with a centre and an offset head tells them.

After Panoptic-DeepLab (Cheng et al. 2020, doi 10.1109/CVPR42600.2020.01249, section 3.3): centres
are the largest values of a heatmap in their windows; a sample of a thing belongs to the centre that
is nearest to where its offset leads; an object is of the class that most of its samples have.
Everything is local but for the list of centres, so blocks do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from ..box import Box
from ..components import Amounts, Pieces, Table, read_labels, read_scores, table_of
from ..errors import BudgetExceeded
from ..io import Source

Ints = NDArray[np.int64]
OnShare = Callable[[float], None]
#: Labels are below this, so a group and a label are one number.
_LABELS = 1 << 16
#: Distances that differ by less, relative, are looked at again: the tree rounds in its own way.
_NEAR = 1e-9


@dataclass(frozen=True)
class Heads:
    """What a network says of centres.

    Args:
        source: Channels on the map's grid: the heatmap, then an offset per axis in array order,
            (z,) y, x, in samples, from a sample to the centre of its object.
        least: Value that a centre's sample has at least.
        window: Extent of the window along every axis in which a centre is the largest; odd.
        most: Centres, and rows of tables, that there may be.
    """

    source: Source
    least: float = 0.1
    window: int = 7
    most: int = 1 << 62

    def require_few(self, count: int, what: str) -> None:
        """Refuse what there is no room for.

        Raises:
            BudgetExceeded: There are too many.
        """
        if count > self.most:
            raise BudgetExceeded(
                f"there are {count:,} {what} or more, and memory for {self.most:,}: raise the "
                "memory, or the threshold of centres"
            )


def find_centres(heads: Heads, boxes: list[Box]) -> Ints:
    """Return the centres, (n, axes), in row-major order.

    A sample is one where no other in the window around it is larger, and no equal one there comes
    before it.

    Args:
        heads: The heads; NaN and what was not measured is no centre.
        boxes: Blocks that cover the map; the result does not depend on them.

    Raises:
        DamagedInput: The heads cannot be read.
        BudgetExceeded: There are more centres than there may be.
    """
    whole, count = heads.source.grid.box, 0
    halo = (heads.window // 2,) * len(whole.shape)
    found = [np.zeros((0, len(whole.shape)), np.int64)]
    for box in boxes:
        around = box.grow(halo).intersect(whole)
        heat = heads.source.read(around)[0].astype(np.float64)
        heat[~heads.source.valid(around) | np.isnan(heat)] = -np.inf
        places = np.argwhere(_peaks(heat, heads)) + around.start
        inside = ((places >= box.start) & (places < box.stop)).all(axis=1)
        found.append(places[inside])
        count += len(found[-1])
        heads.require_few(count, "centres")
    centres = np.concatenate(found)
    return centres[np.lexsort(centres.T[::-1])]


def _peaks(heat: NDArray[np.float64], heads: Heads) -> NDArray[np.bool_]:
    """Return where a heatmap has centres; those near its borders may be wrong."""
    reach = heads.window // 2
    high = ndimage.maximum_filter(heat, heads.window, mode="constant", cval=-np.inf)
    peaks: NDArray[np.bool_] = (heat == high) & (heat >= heads.least)
    places = np.argwhere(peaks)
    values = heat[tuple(places.T)]
    alone = np.ones(len(places), np.bool_)
    for step in product(range(-reach, reach + 1), repeat=heat.ndim):
        if step >= (0,) * heat.ndim:
            break  # those that follow come later in the map, too
        before = places + step
        inside = ((before >= 0) & (before < heat.shape)).all(axis=1)
        alone[inside] &= heat[tuple(before[inside].T)] != values[inside]
    peaks[tuple(places[~alone].T)] = False
    return peaks


@dataclass(frozen=True)
class Centred:
    """Groups of things around centres, and every other class as one object; see `Found`.

    Args:
        table: What is known of every group that has samples, by ascending key; its label is the
            class of most of its samples, of equal ones the smaller.
        unit: What an amount of 1 in the table stands for.
        groups: How samples are grouped.
        boxes: The blocks the map is read in.
        codes: Code of every group in the order of codes, and its row in the table.
    """

    table: Table
    unit: float
    groups: _Groups = field(repr=False)
    boxes: list[Box] = field(repr=False)
    codes: tuple[Ints, Ints] = field(repr=False)

    @classmethod
    def of(
        cls,
        labels: Source,
        heads: Heads,
        things: Ints,
        boxes: list[Box],
        measured: tuple[Amounts, Source | None],
        on_share: OnShare | None = None,
    ) -> Centred:
        """Group the samples of a class map.

        Args:
            labels: The map.
            heads: What the network says.
            things: Classes whose samples are grouped.
            boxes: Blocks that cover the map; the result does not depend on them.
            measured: Amounts of the map's rows, and scores of 0 to 1 on its grid or None.
            on_share: Told the share that is done, 0 to 1.

        Raises:
            ConfigError: The map is none, or the scores are none.
            DamagedInput: The map, heads or scores cannot be read.
            BudgetExceeded: There are more centres, or groups in blocks, than there may be.
        """
        rows = 0
        groups = _Groups(labels, heads, things, find_centres(heads, boxes))
        tables: list[Table] = []
        codes = [np.zeros(0, np.int64)]
        for n, box in enumerate(boxes):
            own, table = groups.table(box, measured)
            codes.append(own)
            tables.append(table)
            rows += len(table)
            heads.require_few(rows, "groups in blocks")
            if on_share is not None:
                on_share((n + 1) / len(boxes))
        every, to = np.unique(np.concatenate(codes), return_inverse=True)
        joined = Table.joined(tables)
        joined = replace(joined, labels=_majority(joined, to)[to])
        table, places = joined.merged(len(every), to)
        at = np.empty(len(every), np.int64)
        at[to] = places
        return cls(table, measured[0].unit, groups, boxes, (every, at))

    def rewritten(self, values: Ints, nodata: int) -> Iterator[tuple[Box, Ints]]:
        """Yield the map's blocks with a value for every row of the table."""
        every, rows = self.codes
        own = values[rows]
        for box in self.boxes:
            codes = self.groups.codes(box, read_labels(self.groups.labels, box))
            block = np.full(box.shape, nodata, np.int64)
            there = codes >= 0
            block[there] = own[np.searchsorted(every, codes[there])]
            yield box, block


def _majority(table: Table, to: Ints) -> NDArray[np.int32]:
    """Return the label of most samples of every group, of equal ones the smallest."""
    codes, at = np.unique(to * _LABELS + table.labels, return_inverse=True)
    sizes = np.zeros(len(codes), np.int64)
    np.add.at(sizes, at, table.sizes)
    groups, labels = codes // _LABELS, codes % _LABELS
    order = np.lexsort((labels, -sizes, groups))
    _, first = np.unique(groups[order], return_index=True)
    return np.asarray(labels[order[first]], np.int32)


class _Groups:
    """Says to which group a sample belongs."""

    def __init__(self, labels: Source, heads: Heads, things: Ints, centres: Ints) -> None:
        self.labels = labels
        self._heads, self._things, self._centres = heads, things, centres
        self._tree = KDTree(centres)

    def codes(self, box: Box, labels: NDArray[np.int32]) -> Ints:
        """Return a code per sample of a box: its centre, or the centres' number and its label.

        -1 where nothing was measured, and of things without a centre or an offset.
        """
        codes = np.where(labels < 0, -1, len(self._centres) + labels.astype(np.int64))
        thing = np.isin(labels, self._things)
        codes[thing] = -1
        if not len(self._centres) or not thing.any():
            return codes
        offsets = self._heads.source.read(box)[1:].astype(np.float64)
        thing &= np.isfinite(offsets).all(axis=0) & self._heads.source.valid(box)
        aims = np.argwhere(thing) + np.array(box.start) + offsets[:, thing].T
        codes[thing] = self._nearest(aims)
        return codes

    def _nearest(self, aims: NDArray[np.float64]) -> Ints:
        """Return the centre nearest to every aim, of equal ones the first."""
        count, many = len(self._centres), 2
        found = np.empty(len(aims), np.int64)
        open_ = np.arange(len(aims))
        while len(open_):
            many = min(many, count)
            _, near = self._tree.query(aims[open_], k=np.arange(1, many + 1))
            away = ((aims[open_, np.newaxis] - self._centres[near]) ** 2).sum(axis=-1)
            least = away.min(axis=1, keepdims=True)
            found[open_] = np.where(away == least, near, count).min(axis=1)
            tied = away[:, -1] <= least[:, 0] * (1 + _NEAR)
            open_ = open_[tied] if many < count else open_[:0]
            many *= 2
        return found

    def table(self, box: Box, measured: tuple[Amounts, Source | None]) -> tuple[Ints, Table]:
        """Return the codes of the groups in a box by label, and what is known of each."""
        amounts, scores = measured
        labels = read_labels(self.labels, box)
        codes = self.codes(box, labels)
        both = np.where(codes < 0, -1, codes * _LABELS + labels)
        every, ids = np.unique(both, return_inverse=True)
        none = int(len(every) > 0 and every[0] < 0)
        block = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
        count = len(every) - none
        pieces = Pieces(block, (ids.ravel() - none).astype(np.int32), count, 1)
        own = None if scores is None else read_scores(scores, box)
        place = (box.start, self.labels.grid.shape)
        made = table_of(pieces, place, amounts, own, np.zeros(count, np.bool_))
        return every[none:] // _LABELS, made
