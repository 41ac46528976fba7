"""Counts of truth against map, and the figures that follow from them.

With TP, FP and FN of a class, N samples, and totals per class of truth t and map m:

    precision = TP / m    recall = TP / t    F1 = Dice = 2 TP / (t + m)    IoU = TP / (t + m - TP)
    accuracy = sum(TP) / N        kappa = (accuracy - e) / (1 - e),  e = sum(t m) / N^2

(Cohen 1960 for kappa, doi 10.1177/001316446002000104). A figure without a denominator is NaN: that
of a class in neither truth nor map, the recall of a class without truth. A class that is only in
the map has F1 and IoU 0, as nnU-Net counts it. Means are over the classes that have a figure.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ._labels import LARGEST, labels_of

Figures = NDArray[np.float64]

#: Samples counted at a time; their indices stay in the processor's cache.
_CHUNK = 1 << 18
#: More label values than this are no classes.
_MOST = 2048


class Confusion:
    """A confusion matrix that is filled block by block; blocks may come in any order.

    Label values that were not named are added as they appear.

    Attributes:
        ids: Label values, ascending.
        counts: uint64 (n, n + 1): rows are the truth, columns the map, the last one for samples
            that have a truth and no class in the map.

    >>> c = Confusion()
    >>> c.add(np.array([1, 1, 2]), np.array([1, 2, 2]), np.array([True, True, True]))
    >>> c.counts.tolist(), float(c.accuracy())
    ([[1, 1, 0], [0, 1, 0]], 0.6666666666666666)
    """

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self.ids: tuple[int, ...] = tuple(sorted(set(ids)))
        n = len(self.ids)
        self.counts: NDArray[np.uint64] = np.zeros((n, n + 1), np.uint64)

    def add(
        self,
        truth: NDArray[Any],
        found: NDArray[Any],
        valid: NDArray[np.bool_],
        measured: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count the samples of a block; the arrays have one shape.

        Args:
            truth: Label values.
            found: Those of the map.
            valid: Where there is a truth; nothing else is counted.
            measured: Where the map has a class; None: everywhere.

        Raises:
            ConfigError: Values are no labels, or more than 2048 different ones.
        """
        everywhere = bool(valid.all())
        t = labels_of(truth.ravel() if everywhere else truth[valid], "the truth")
        f = found.ravel() if everywhere else found[valid]
        if measured is not None:
            there = measured.ravel() if everywhere else measured[valid]
            if not there.all():
                self._missing(t[~there])
                t, f = t[there], f[there]
        f = labels_of(f, "the map")
        for low in range(0, len(t), _CHUNK):
            self._count(t[low : low + _CHUNK], f[low : low + _CHUNK])

    def merge(self, other: Confusion) -> None:
        """Add the counts of another part of the same evaluation."""
        self._grow(np.array(other.ids, np.int64))
        at = self._places[list(other.ids)]
        self.counts[np.ix_(at, np.append(at, len(self.ids)))] += other.counts

    def only(self, ids: Iterable[int]) -> Confusion:
        """Return the counts of these classes alone; other values of the map are no class.

        Raises:
            ConfigError: The truth holds other values.
        """
        wanted = Confusion(ids)
        strange = self.strange_truth(wanted.ids)
        if strange:
            raise ConfigError(f"the truth holds labels that are no classes: {told(strange)}")
        held = [i for i in wanted.ids if i in self.ids]
        there, here = self._places[held], wanted._places[held]
        wanted.counts[np.ix_(here, here)] = self.counts[np.ix_(there, there)]
        rest = self.counts[there].sum(axis=1) - self.counts[np.ix_(there, there)].sum(axis=1)
        wanted.counts[here, -1] = rest
        return wanted

    def strange_truth(self, ids: Iterable[int]) -> dict[int, int]:
        """Return label values of the truth that are none of these: value -> samples."""
        totals = self.truth
        known = set(ids)
        return {v: int(n) for v, n in zip(self.ids, totals, strict=True) if n and v not in known}

    def strange_map(self, ids: Iterable[int]) -> dict[int, int]:
        """Return label values of the map that are none of these: value -> samples with truth."""
        known = set(ids)
        pairs = zip(self.ids, self.found, strict=True)
        return {v: int(n) for v, n in pairs if n and v not in known}

    # ----------------------------------------------------------------- figures

    @property
    def truth(self) -> NDArray[np.uint64]:
        """Samples per class of the truth."""
        return np.asarray(self.counts.sum(axis=1, dtype=np.uint64))

    @property
    def found(self) -> NDArray[np.uint64]:
        """Samples per class of the map, where there is a truth."""
        return np.asarray(self.counts[:, :-1].sum(axis=0, dtype=np.uint64))

    @property
    def hits(self) -> NDArray[np.uint64]:
        """Samples per class on which both agree."""
        return np.asarray(np.diagonal(self.counts))

    @property
    def missing(self) -> int:
        """Samples with a truth and no class in the map."""
        return int(self.counts[:, -1].sum())

    @property
    def total(self) -> int:
        """Samples with a truth."""
        return int(self.counts.sum())

    def accuracy(self) -> float:
        """Return the share of samples on which both agree."""
        return float(_share(self.hits.sum(), self.counts.sum()))

    def kappa(self) -> float:
        """Return Cohen's kappa; NaN where chance alone explains everything."""
        total = float(self.total)
        if not total:
            return float("nan")
        chance = float((self.truth / total) @ (self.found / total))
        return float(_share(self.accuracy() - chance, 1 - chance))

    def precision(self) -> Figures:
        """Return, per class, the share of the map's samples that are right (user's accuracy)."""
        return _share(self.hits, self.found)

    def recall(self) -> Figures:
        """Return, per class, the share of the truth that was found (producer's accuracy)."""
        return _share(self.hits, self.truth)

    def f1(self) -> Figures:
        """Return F1, which is Dice, per class."""
        return _share(2.0 * self.hits, self.truth + self.found)

    def iou(self) -> Figures:
        """Return intersection over union per class."""
        return _share(self.hits, self.truth + self.found - self.hits)

    # ----------------------------------------------------------------- counting

    def _count(self, truth: NDArray[Any], found: NDArray[Any]) -> None:
        rows, columns = self._places[truth], self._places[found]
        if rows.min() < 0 or columns.min() < 0:
            self._grow(np.concatenate([np.unique(truth), np.unique(found)]))
            rows, columns = self._places[truth], self._places[found]
        rows *= len(self.ids) + 1
        rows += columns
        self.counts += (
            np.bincount(rows, minlength=self.counts.size)
            .reshape(self.counts.shape)
            .astype(np.uint64)
        )

    def _missing(self, truth: NDArray[Any]) -> None:
        values, counts = np.unique(truth, return_counts=True)
        self._grow(values)
        self.counts[self._places[values], -1] += counts.astype(np.uint64)

    def _grow(self, values: NDArray[Any]) -> None:
        ids = tuple(sorted({*self.ids, *(int(v) for v in values)}))
        if ids == self.ids:
            return
        if len(ids) > _MOST:
            raise ConfigError(
                f"there are more than {_MOST} label values: these are no classes; give class maps, "
                "or ask for panoptic alone where they are ids of instances"
            )
        old, before = self.counts, list(self.ids)
        self.ids = ids
        self.counts = np.zeros((len(ids), len(ids) + 1), np.uint64)
        at = self._places[before]
        self.counts[np.ix_(at, np.append(at, len(ids)))] = old

    @property
    def _places(self) -> NDArray[np.intp]:
        """Row and column of every label value, -1 for those not seen yet."""
        return _table(self.ids)


@lru_cache(maxsize=8)
def _table(ids: tuple[int, ...]) -> NDArray[np.intp]:
    places = np.full(LARGEST + 1, -1, np.intp)
    places[list(ids)] = np.arange(len(ids))
    return places


def told(samples: dict[int, int]) -> str:
    """Return label values and how many samples have them, the most frequent first.

    >>> told({7: 12, 255: 4000})
    '255 (4,000 samples), 7 (12 samples)'
    """
    most = sorted(samples.items(), key=lambda pair: -pair[1])
    parts = [f"{value} ({count:,} samples)" for value, count in most[:8]]
    return ", ".join(parts) + (f" and {len(most) - 8} more" if len(most) > 8 else "")


def mean_of(figures: Figures) -> float:
    """Return the mean of the figures that there are, NaN where there is none."""
    there = figures[~np.isnan(figures)]
    return float(there.mean()) if len(there) else float("nan")


def _share(part: Any, whole: Any) -> Figures:
    """Return part / whole, NaN where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    share: Figures = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
    return share
