"""How a census is taken: every case is read once, piece by piece.

What is kept of a scene is a few numbers per block, so memory does not grow with it but for those.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..moments import Moments
from ..normalize import measured
from ._case import Pair, telling
from ._census import CaseCensus, Census
from ._dataset import Dataset
from ._kept import keep_census, kept_census

#: Extent of a block where nobody says otherwise: a fraction of a usual window.
_BLOCKS = {2: 128, 3: 16}
#: Blocks of a case beyond which they are made larger: what is kept stays below some MB.
_MOST_BLOCKS = 2**16
#: Samples of all channels read at a time.
_READ = 2**21
#: Samples kept of a case, from which percentiles are taken.
SAMPLE = 20_000
#: Changes when a census counts otherwise, so that what was kept is not taken for it.
_VERSION = 3


def take_census(
    dataset: Dataset, block: int | None = None, on_case: Callable[[str], None] | None = None
) -> Census:
    """Read all labelled cases of a dataset once.

    What is found is kept in the user's cache folder, by the digest of the files and of the settings
    that matter, and found there the next time.

    Args:
        dataset: The cases.
        block: Extent of a block along every axis; by default 128, of volumes 16. Of scenes of more
            than 65,536 blocks it is doubled until there are fewer.
        on_case: Is told the name of every case that was read.

    Raises:
        ConfigError: A file is not there or not as the legend says.
        DamagedInput: A file is not what it claims to be.
        GridMismatch: An image and its labels do not lie on one grid.
    """
    found: dict[str, CaseCensus] = {}
    for case in dataset.labelled:
        with dataset.open(case) as pair, telling(case.name):
            found[case.name] = census_of(pair, dataset, block)
        if on_case is not None:
            on_case(case.name)
    return Census(dataset.schema, found)


def census_of(pair: Pair, dataset: Dataset, block: int | None = None) -> CaseCensus:
    """Return what one open case holds, from the cache where it is there."""
    extent = _block(pair.grid.shape, block)
    inputs = [
        _VERSION,
        pair.image.fingerprint(),
        pair.image.channels,
        pair.labels.fingerprint(),
        sorted(map(repr, dataset.legend.classes.items())),
        dataset.legend.written,
        dataset.schema.to_dict(),
        extent,
    ]
    key = hashlib.sha256(json.dumps(inputs, default=str).encode()).hexdigest()
    kept = kept_census(key)
    if kept is not None:
        return CaseCensus(**kept)
    census = _count(pair, extent)
    keep_census(key, vars(census))
    return census


def _block(shape: tuple[int, ...], block: int | None) -> tuple[int, ...]:
    extent = block or _BLOCKS[len(shape)]
    while prod(ceil(n / extent) for n in shape) > _MOST_BLOCKS:
        extent *= 2
    return (extent,) * len(shape)


def _count(pair: Pair, block: tuple[int, ...]) -> CaseCensus:
    schema, channels = pair.labels.schema, len(pair.image.channels)
    tally = _Tally(pair, block)
    table = np.full(schema.nodata + 1, len(schema.unique), np.int64)
    table[[c.id for c in schema.unique]] = np.arange(len(schema.unique))
    nothing = Moments.of(np.zeros((channels, 0)))
    moments = foreground = nothing
    thinned = _Thinned(channels)
    for box in _pieces(pair.grid.shape, block, _READ // channels):
        values, (ids, strange) = pair.image.read(box), pair.labels.look(box)
        seen = measured(values, pair.image.valid(box))
        wanted = seen & (ids != schema.nodata)
        if schema.background is not None:
            wanted &= ids != schema.background
        moments += Moments.of(values[:, seen])
        inside = values[:, wanted]
        foreground += Moments.of(inside)
        thinned.add(inside)
        tally.add(box, values, ids, table[ids])
        tally.strange.update(strange)
        tally.unmeasured += int(seen.size - seen.sum())
    return CaseCensus(
        block=block,
        counts=tally.counts[..., :-1].astype(np.uint32),
        unlabelled=tally.counts[..., -1].astype(np.uint32),
        strange=tally.strange,
        unmeasured=tally.unmeasured,
        moments=moments,
        foreground=foreground,
        sample=thinned.values(),
        facts=_facts(pair),
        image_digest=tally.image.hexdigest(),
        labels_digest=tally.labels.hexdigest(),
    )


def _facts(pair: Pair) -> dict[str, Any]:
    image, grid = pair.image, pair.grid
    return {
        "shape": list(grid.shape),
        "spacing": list(image.lengths or grid.spacing),
        "affine": [list(row) for row in grid.affine],
        "space": str(grid.space.kind),
        "unit": grid.space.unit,
        "orientation": grid.orientation,
        "channels": list(image.channels),
        "dtype": str(image.dtype),
    }


class _Tally:
    """Counts and digests of a case while it is read."""

    def __init__(self, pair: Pair, block: tuple[int, ...]) -> None:
        shape = pair.grid.shape
        blocks = tuple(ceil(n / b) for n, b in zip(shape, block, strict=True))
        self.counts = np.zeros((*blocks, len(pair.labels.schema.unique) + 1), np.int64)
        self._block = block
        self.strange = Counter(pair.labels.strange)
        self.unmeasured = 0
        self.image = hashlib.sha256(repr((shape, len(pair.image.channels))).encode())
        self.labels = hashlib.sha256(repr(shape).encode())

    def add(
        self, box: Box, values: NDArray[Any], ids: NDArray[Any], places: NDArray[np.int64]
    ) -> None:
        """Count the samples of a piece whose first sample is the first of a block.

        Args:
            box: The piece.
            values: Image, (c, *box.shape).
            ids: Class ids, (*box.shape).
            places: Place of the class in the schema, the last for no truth.
        """
        self.image.update(np.ascontiguousarray(values).data)
        self.labels.update(np.ascontiguousarray(ids, dtype="<u2").data)
        spans = [np.arange(n) // b for n, b in zip(box.shape, self._block, strict=True)]
        blocks = tuple(int(s[-1]) + 1 for s in spans)
        width = self.counts.shape[-1]
        flat = places
        for axis, span in enumerate(spans):
            stride = width * prod(blocks[axis + 1 :])
            flat = flat + (span * stride).reshape(-1, *(1,) * (len(spans) - axis - 1))
        found = np.bincount(flat.ravel(), minlength=prod(blocks) * width)
        first = (a // b for a, b in zip(box.start, self._block, strict=True))
        into = tuple(slice(a, a + n) for a, n in zip(first, blocks, strict=True))
        self.counts[into] += found.reshape(*blocks, width)


class _Thinned:
    """Every k-th of a stream of samples, k a power of two: so few that they can be kept."""

    def __init__(self, channels: int) -> None:
        self._kept: list[NDArray[np.float32]] = [np.zeros((channels, 0), np.float32)]
        self._step, self._seen, self._count = 1, 0, 0

    def add(self, samples: NDArray[Any]) -> None:
        """Take samples, (c, n)."""
        some = samples[:, -self._seen % self._step :: self._step].astype(np.float32)
        self._seen += samples.shape[1]
        self._kept.append(some)
        self._count += some.shape[1]
        while self._count > SAMPLE:
            self._kept = [np.concatenate(self._kept, axis=1)[:, ::2]]
            self._count, self._step = self._kept[0].shape[1], 2 * self._step

    def values(self) -> NDArray[np.float32]:
        """Return those that are kept, (c, n)."""
        return np.concatenate(self._kept, axis=1)


def _pieces(shape: tuple[int, ...], block: tuple[int, ...], limit: int) -> Iterator[Box]:
    """Cut an image into pieces of whole blocks, as many as ``limit`` samples allow, one at least.

    >>> [b.shape for b in _pieces((5, 8), (4, 4), 32)]
    [(4, 8), (1, 8)]
    """
    steps = list(block)
    for axis in reversed(range(len(steps))):
        steps[axis] *= max(1, min(limit // prod(steps), ceil(shape[axis] / steps[axis])))
    return Box.of_shape(shape).pieces(tuple(steps))
