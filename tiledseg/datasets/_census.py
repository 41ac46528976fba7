"""Census: how many samples of each class lie in each block of a case, and its intensities."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..labels import ClassSchema
from ..moments import Moments


@dataclass(frozen=True)
class CaseCensus:
    """What one case holds.

    Args:
        block: Extent of a block per axis, array order; the last ones of an axis may be cut.
        counts: Samples of each class of `ClassSchema.unique` per block: uint32,
            (*blocks, classes).
        unlabelled: Samples without truth per block: uint32, (*blocks,).
        strange: How often what the legend does not know: mark -> samples (polygons: -> polygons).
        unmeasured: Samples of the image that were not measured.
        moments: Of the measured samples, per channel.
        foreground: Of those that are labelled and not background, per channel.
        sample: Some of the measured samples that are labelled and not background, evenly spread:
            float32, (channels, at most 20,000).
        facts: ``shape``, ``spacing`` (array order, world units), ``affine``, ``space``, ``unit``,
            ``orientation``, ``channels``, ``dtype``.
        image_digest: sha256 of shape and samples of the image, whatever file they are in.
        labels_digest: The same of the labels.
    """

    block: tuple[int, ...]
    counts: NDArray[np.uint32]
    unlabelled: NDArray[np.uint32]
    strange: Counter[str]
    unmeasured: int
    moments: Moments
    foreground: Moments
    sample: NDArray[np.float32]
    facts: Mapping[str, Any]
    image_digest: str
    labels_digest: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples per axis of the case."""
        return tuple(self.facts["shape"])

    @property
    def totals(self) -> NDArray[np.int64]:
        """Samples of each class: (classes,)."""
        axes = tuple(range(self.counts.ndim - 1))
        return np.asarray(self.counts.sum(axis=axes, dtype=np.int64))

    @property
    def missing(self) -> int:
        """Samples without truth."""
        return int(self.unlabelled.sum(dtype=np.int64))

    def box(self, index: tuple[int, ...]) -> Box:
        """Return the samples of a block, by its index along every axis."""
        start = tuple(i * b for i, b in zip(index, self.block, strict=True))
        ends = zip(start, self.block, self.shape, strict=True)
        return Box(start, tuple(min(a + b, n) for a, b, n in ends))


@dataclass(frozen=True)
class Census:
    """What the labelled cases of a dataset hold.

    Args:
        schema: The classes.
        cases: Name of a case -> what it holds, in the dataset's order.
    """

    schema: ClassSchema
    cases: Mapping[str, CaseCensus]

    @property
    def totals(self) -> NDArray[np.int64]:
        """Samples of each class of `ClassSchema.unique`: (classes,)."""
        return np.asarray(np.sum([c.totals for c in self.cases.values()], axis=0, dtype=np.int64))

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each class among the labelled samples: (classes,), of sum 1 (0 of nothing)."""
        totals = self.totals
        return np.asarray(totals / max(1, int(totals.sum())))

    @property
    def missing(self) -> int:
        """Samples without truth."""
        return sum(c.missing for c in self.cases.values())

    @property
    def moments(self) -> Moments:
        """Of all measured samples, per channel."""
        return reduce(Moments.__add__, (c.moments for c in self.cases.values()))

    @property
    def foreground(self) -> Moments:
        """Of all measured samples that are labelled and not background, per channel."""
        return reduce(Moments.__add__, (c.foreground for c in self.cases.values()))

    def percentiles(self, ranks: tuple[float, ...]) -> NDArray[np.float64]:
        """Return percentiles of the samples kept, every case of the same weight per sample.

        Args:
            ranks: 0 to 100.

        Returns:
            (ranks, channels).
        """
        values = np.concatenate([c.sample for c in self.cases.values()], axis=1)
        return np.asarray(np.percentile(values.astype(np.float64), ranks, axis=1))

    def of(self, names: Iterable[str]) -> Census:
        """Return the census of some of the cases, in that order."""
        return Census(self.schema, {name: self.cases[name] for name in names})

    @property
    def digest(self) -> str:
        """The sha256 of the samples and labels of all cases, whatever files they are in."""
        parts = sorted((c.image_digest, c.labels_digest) for c in self.cases.values())
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
