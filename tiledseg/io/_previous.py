"""The class map of a former stage as channels of 0 and 1, on the grid of the model after it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..box import Box
from ._base import Array, Mask, Source
from ._derived import DerivedSource
from ._nonzero import FilledMask

#: Shares that differ by less are equal: they are sums of products that were rounded.
_EQUAL = 1e-12
#: Stands for what lies outside of the image's mask.
_OUTSIDE = -1


class _Labels(DerivedSource):
    """What is made of a class map, sample by sample."""

    def __init__(self, inner: Source, channels: tuple[str, ...], dtype: type[np.generic]) -> None:
        super().__init__(inner)
        self.channels, self.dtype, self.nodata = channels, np.dtype(dtype), None

    def valid(self, box: Box) -> Mask:
        """Return True: what is no label is none of them."""
        return np.ones(box.shape, np.bool_)


class MarkedSource(_Labels):
    """A map of labels that is -1 where it is 0 and the image lies outside of its own mask.

    Args:
        labels: The map, one channel.
        mask: Of the image.
    """

    def __init__(self, labels: Source, mask: FilledMask) -> None:
        super().__init__(labels, labels.channels, np.int32)
        self._mask = mask

    def read(self, box: Box) -> Array:
        """Return the labels of ``box``."""
        found = self.inner.read(box).astype(np.int32)
        found[0][(found[0] == 0) & ~self._mask.read(box)] = _OUTSIDE
        return found


class OneHotSource(_Labels):
    """Where a map has each of some labels: a channel per label, float64, 0 or 1.

    Args:
        labels: The map, one channel.
        ids: The labels.
    """

    def __init__(self, labels: Source, ids: tuple[int, ...]) -> None:
        super().__init__(labels, tuple(f"label {i}" for i in ids), np.float64)
        self._ids = np.array(ids)

    def read(self, box: Box) -> Array:
        """Return the channels of ``box``."""
        found = self.inner.read(box) == self._ids.reshape(-1, *(1,) * len(box.shape))
        return np.asarray(found, np.float64)


class PreviousSource(_Labels):
    """Labels as channels of 0 and 1 on another grid, resampled as nnU-Net resamples labels.

    Every label is interpolated on its own, what lies outside of the mask as one more. The largest
    share wins; of equal ones the label that is nearest, else the smallest (batchgenerators 0.25.5,
    resize_segmentation).

    Args:
        labels: A map with -1 outside of the mask.
        ids: The labels that are channels, ascending.
        linear: Interpolates a source onto the other grid.
        nearest: Picks the nearest sample there.
    """

    def __init__(
        self,
        labels: MarkedSource,
        ids: tuple[int, ...],
        linear: Callable[[Source], Source],
        nearest: Callable[[Source], Source],
    ) -> None:
        self._all = (_OUTSIDE, 0, *ids)
        self._shares = linear(OneHotSource(labels, self._all))
        self._nearest = nearest(labels)
        super().__init__(self._shares, tuple(f"label {i}" for i in ids), np.float32)

    def read(self, box: Box) -> Array:
        """Return the channels of ``box``."""
        shares = self._shares.read(box)
        tied = shares >= shares.max(axis=0) - _EQUAL
        won = tied.argmax(axis=0)
        at = np.searchsorted(self._all, self._nearest.read(box)[0])
        at = np.minimum(at, len(self._all) - 1)
        won = np.where(np.take_along_axis(tied, at[None], axis=0)[0], at, won)
        return np.stack([won == i for i in range(2, len(self._all))]).astype(np.float32)
