"""Panoptic quality of instances, block by block, after Kirillov et al. 2019.

A segment of the map matches one of the truth where their IoU is above 0.5; then it is the only one.
With the matches TP, and segments without one FP (map) and FN (truth), per class:

    SQ = mean IoU of matches    RQ = TP / (TP + FP / 2 + FN / 2)    PQ = SQ RQ

(doi 10.1109/CVPR.2019.00963). Samples without a truth are left out of unions, and a segment of the
map without a match that lies in them for more than half of its area counts as nothing
(section 4.1 there).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

#: Stands for "no truth" among the truth's ids.
_VOID = 2**32 - 1
_SHIFT = np.uint64(32)
Meanings = Mapping[int, int]


@dataclass(frozen=True)
class PanopticQuality:
    """Figures of one class.

    Args:
        matched: Segments of truth and map that match, TP.
        extra: Segments of the map without a match, FP.
        missed: Segments of the truth without a match, FN.
        overlap: Sum of the IoU of matches.
    """

    matched: int
    extra: int
    missed: int
    overlap: float

    def __add__(self, other: PanopticQuality) -> PanopticQuality:
        """Return the figures of both images together."""
        return PanopticQuality(
            self.matched + other.matched,
            self.extra + other.extra,
            self.missed + other.missed,
            self.overlap + other.overlap,
        )

    @property
    def sq(self) -> float:
        """Segmentation quality; NaN without a match."""
        return self.overlap / self.matched if self.matched else float("nan")

    @property
    def rq(self) -> float:
        """Recognition quality, the F1 of segments; NaN without segments."""
        whole = self.matched + (self.extra + self.missed) / 2
        return self.matched / whole if whole else float("nan")

    @property
    def pq(self) -> float:
        """Panoptic quality; NaN without segments."""
        whole = self.matched + (self.extra + self.missed) / 2
        return self.overlap / whole if whole else float("nan")


class Panoptic:
    """Areas that segments of truth and map share.

    Args:
        divisor: An id's class is ``id // divisor`` (1000 in Cityscapes' files); None: all are of
            one class, 0. Id 0 is no segment.
        meanings: Instead of it, class of every id of the truth, and of the map. -1 for an id of the
            truth is a crowd: there is no truth there, whatever class it is of. (COCO's own tool
            lets a crowd excuse segments of its own class only.)
    """

    def __init__(
        self, divisor: int | None = None, meanings: tuple[Meanings, Meanings] | None = None
    ) -> None:
        self._divisor, self._meanings = divisor, meanings
        self._codes: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._areas: NDArray[np.int64] = np.zeros(0, np.int64)

    def add(self, truth: NDArray[Any], found: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Count the samples of a block; the arrays have one shape.

        Args:
            truth: Ids of segments.
            found: Those of the map, 0 where it has none.
            valid: Where there is a truth.

        Raises:
            ConfigError: Ids are negative, fractions, or too large.
        """
        codes = _ids(np.where(valid, truth, 0), "the truth")
        codes[~valid] = _VOID
        codes = ((codes << _SHIFT) | _ids(found, "the map")).ravel()
        if len(codes):
            starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
            self._gather(codes[starts], np.diff(np.append(starts, len(codes))))

    def merge(self, other: Panoptic) -> None:
        """Add the areas of another part of the same evaluation."""
        self._gather(other._codes, other._areas)

    def qualities(self) -> dict[int, PanopticQuality]:
        """Return the figures per class.

        Raises:
            ConfigError: An id has no class.
        """
        truths = (self._codes >> _SHIFT).astype(np.int64)
        founds = (self._codes & np.uint64(_VOID)).astype(np.int64)
        truth_class, found_class = self._classes(0, truths), self._classes(1, founds)
        crowds = [i for i, label in truth_class.items() if label < 0]
        truths[np.isin(truths, np.array(crowds, np.int64))] = _VOID
        void = truths == _VOID
        truth_area = _sums(truths[~void], self._areas[~void])
        found_area = _sums(founds, self._areas)
        void_area = _sums(founds[void], self._areas[void])
        seen = {truth_class[t] for t in truth_area if t} | {found_class[f] for f in found_area if f}
        tallies = {label: [0, 0, 0, 0.0] for label in seen}
        matched_truths, matched_founds = set(), set()
        for t, f, shared in zip(truths.tolist(), founds.tolist(), self._areas, strict=True):
            if t in (0, _VOID) or f == 0 or truth_class[t] != found_class[f]:
                continue
            union = truth_area[t] + found_area[f] - void_area.get(f, 0) - int(shared)
            if 2 * int(shared) > union:
                matched_truths.add(t)
                matched_founds.add(f)
                tallies[truth_class[t]][0] += 1
                tallies[truth_class[t]][3] += int(shared) / union
        for f in found_area.keys() - matched_founds - {0}:
            if 2 * void_area.get(f, 0) <= found_area[f]:
                tallies[found_class[f]][1] += 1
        for t in truth_area.keys() - matched_truths - {0}:
            tallies[truth_class[t]][2] += 1
        return {
            c: PanopticQuality(int(tp), int(fp), int(fn), overlap)
            for c, (tp, fp, fn, overlap) in sorted(tallies.items())
        }

    def _classes(self, which: int, ids: NDArray[np.int64]) -> Meanings:
        """Return the class of every id of the truth, 0, or the map, 1."""
        every = {*np.unique(ids).tolist()} - {0, _VOID}
        if self._meanings is None:
            return {i: 0 if self._divisor is None else i // self._divisor for i in every}
        known = self._meanings[which]
        unknown = sorted(every - known.keys())
        if unknown:
            raise ConfigError(
                f"{('the truth', 'the map')[which]} holds segment {unknown[0]}, of which its JSON "
                "does not tell the class; make both again"
            )
        return known

    def _gather(self, codes: NDArray[np.uint64], areas: NDArray[np.int64]) -> None:
        every = np.concatenate([self._codes, codes])
        self._codes, at = np.unique(every, return_inverse=True)
        sums = np.zeros(len(self._codes), np.int64)
        np.add.at(sums, at, np.concatenate([self._areas, areas]))
        self._areas = sums


def _ids(values: NDArray[Any], name: str) -> NDArray[np.uint64]:
    low, high = values.min(initial=0), values.max(initial=0)
    if not (low >= 0 and high < _VOID) or (values.dtype.kind == "f" and (values % 1).any()):
        raise ConfigError(
            f"{name} holds {low:g} to {high:g}: ids of instances are whole numbers of 0 to "
            f"{_VOID - 1}"
        )
    return values.astype(np.uint64)


def _sums(keys: NDArray[np.int64], areas: NDArray[np.int64]) -> dict[int, int]:
    values, at = np.unique(keys, return_inverse=True)
    sums = np.zeros(len(values), np.int64)
    np.add.at(sums, at, areas)
    return dict(zip(values.tolist(), sums.tolist(), strict=True))
