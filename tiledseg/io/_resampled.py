"""An image on another grid: interpolated box by box, each sample whatever the box."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..normalize import measured
from ..resampling import Method, Scaling, Taps
from ._base import Array, Mask, Source
from ._derived import DerivedSource
from ._interpolate import along, margin, reach

#: The least and the largest values of an image.
Limits = tuple[NDArray[Any], NDArray[Any]]
#: Samples from one that was not measured within which a cubic spline still feels that it is not
#: there (0.27**8 = 3e-5 of it): interpolated linearly.
_SHY = 8
#: Share of a sample that must have been measured.
_LEAST = 1e-6


class ResampledSource(DerivedSource):
    """An image interpolated onto a grid whose axes are parallel to its own.

    A sample is measured where any sample that it is made of is (for ``cubic``: that it would be
    made of linearly); it is then made of those alone, so nodata never mixes with values. Near
    samples that were not measured, ``cubic`` interpolates linearly.

    Args:
        inner: The image.
        shape: Samples of the new grid per axis.
        scaling: From the new grid to the image's.
        methods: How, per axis. Where all are ``nearest`` samples keep their type; else they become
            float32, or float64 where float32 cannot hold them.
        border: What lies beyond the image: its outermost samples, or nothing measured.
        limits: Gives the least and largest value of the result, each to be broadcast with
            (c, *image): along an axis that is ``nearest`` there may be one for every sample of the
            image. None: none.
    """

    def __init__(
        self,
        inner: Source,
        shape: tuple[int, ...],
        scaling: Scaling,
        methods: tuple[Method, ...],
        border: Literal["repeat", "missing"] = "repeat",
        limits: Callable[[], Limits] | None = None,
    ) -> None:
        super().__init__(inner)
        self._scaling = scaling
        kept = (scaling.keeps(axis) for axis in range(len(shape)))
        pairs = zip(methods, kept, strict=True)
        self._methods: tuple[Method, ...] = tuple("nearest" if k else m for m, k in pairs)
        self._border, self._find_limits, self._lock = border, limits, threading.Lock()
        self.grid, self.lengths = scaling.grid(inner.grid, shape), None
        self._picks = all(method == "nearest" for method in self._methods)
        self.dtype = inner.dtype if self._picks else np.result_type(inner.dtype, np.float32)
        blocks = zip(inner.blocks, scaling.scale, shape, strict=True)
        self.blocks = tuple(min(n, max(1, ceil(b / s))) for b, s, n in blocks)

    @property
    def needs(self) -> tuple[tuple[float, int], ...]:
        """Per axis, samples of the image read for one of this, and besides; see `Cost`."""
        pairs = zip(self._scaling.scale, self._methods, strict=True)
        return tuple((scale, margin(method)) for scale, method in pairs)

    def read(self, box: Box) -> Array:
        """Return the samples of ``box``; NaN where the data themselves hold no number."""
        taps = self._taps(self._methods, box)
        if self._picks:
            place, at = self._picked(taps)
            return np.ascontiguousarray(self.inner.read(place)[:, *at])
        place = self._reach(self._methods, taps)
        values = self.inner.read(place)
        seen = measured(values, self.inner.valid(place))
        found = np.empty((len(values), *box.shape), self.dtype)
        for channel, samples in enumerate(values):
            there = seen
            if self.nodata is not None and not np.isnan(self.nodata):
                there = seen & (samples != self.nodata)
            made = self._made(samples.astype(np.float64), there, seen, (box, place))
            if self._find_limits is not None:
                with self._lock:
                    limits = self._limits
                low, high = (self._limit(bound, channel, taps) for bound in limits)
                np.clip(made, low, high, out=made)
            found[channel] = made
        return found

    def valid(self, box: Box) -> Mask:
        """Return where samples of ``box`` were measured."""
        taps = self._taps(self._shares, box)
        if self._picks:
            place, at = self._picked(taps)
            found = np.ascontiguousarray(self.inner.valid(place)[at])
        else:
            place = self._reach(self._shares, taps)
            missing = ~self.inner.valid(place)
            if not missing.any():
                found = np.ones(box.shape, np.bool_)
            else:
                found = self._share(missing, taps, place) < 1 - _LEAST
        if self._border == "missing":
            for axis, extent in enumerate(self.inner.grid.shape):
                x = self._scaling.centres(axis, box.start[axis], box.stop[axis])
                inside = (x >= -0.5 - _LEAST) & (x <= extent - 0.5 + _LEAST)
                found &= inside.reshape([-1 if a == axis else 1 for a in range(found.ndim)])
        return found

    def overview(self, limit: int) -> tuple[Array, Mask]:
        """Return a decimated image, picked from the image's own where this one is not small."""
        if all(n <= limit for n in self.grid.shape):
            return self.read(self.grid.box), self.valid(self.grid.box)
        values, valid = self.inner.overview(limit)
        at: tuple[Any, ...] = np.ix_(*self._overview_picks(valid.shape, limit))
        return values[:, *at].astype(self.dtype), valid[at]

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of the image, and how it is interpolated."""
        return {
            **self.inner.fingerprint(),
            "resampled": {
                "shape": list(self.grid.shape),
                "scale": list(self._scaling.scale),
                "offset": list(self._scaling.offset),
                "methods": list(self._methods),
                "limited": self._find_limits is not None,
            },
        }

    # ----------------------------------------------------------------- one box

    @cached_property
    def _limits(self) -> Limits:
        if self._find_limits is None:
            raise ValueError("there are no limits")
        return self._find_limits()

    @property
    def _shares(self) -> tuple[Method, ...]:
        """The methods by which measured samples are counted: no weight is negative."""
        return tuple("linear" if method == "cubic" else method for method in self._methods)

    def _taps(self, methods: tuple[Method, ...], box: Box) -> tuple[Taps, ...]:
        extents = self.inner.grid.shape
        return tuple(
            self._scaling.taps(method, axis, extents[axis], box.start[axis], box.stop[axis])
            for axis, method in enumerate(methods)
        )

    def _reach(self, methods: tuple[Method, ...], taps: tuple[Taps, ...]) -> Box:
        """Return the box of the image that taps, made by methods, need."""
        parts = zip(methods, taps, self.inner.grid.shape, strict=True)
        low, high = zip(*(reach(*part) for part in parts), strict=True)
        return Box(low, high)

    def _picked(self, taps: tuple[Taps, ...]) -> tuple[Box, tuple[Any, ...]]:
        """Return the box that single taps lie in, and where in it."""
        place = self._reach(self._methods, taps)
        index = (t.index[:, 0] - a for t, a in zip(taps, place.start, strict=True))
        return place, np.ix_(*index)

    def _along(
        self,
        values: NDArray[np.float64],
        methods: tuple[Method, ...],
        taps: tuple[Taps, ...],
        place: Box,
    ) -> NDArray[np.float64]:
        """Interpolate the samples of ``place`` along one axis after the other."""
        for axis, method in enumerate(methods):
            extent = (place.start[axis], self.inner.grid.shape[axis])
            values = along(values, axis, method, taps[axis], extent)
        return values

    def _share(self, mask: Mask, taps: tuple[Taps, ...], place: Box) -> NDArray[np.float64]:
        """Return how much of every sample is made of those of ``place`` in a mask: 0 to 1."""
        return self._along(mask.astype(np.float64), self._shares, taps, place)

    def _made(
        self, samples: NDArray[np.float64], there: Mask, seen: Mask, boxes: tuple[Box, Box]
    ) -> NDArray[np.float64]:
        """Interpolate one channel of ``place``, made of the samples that are there alone."""
        box, place = boxes
        taps = self._taps(self._methods, box)
        if there.all():
            return self._along(samples, self._methods, taps, place)
        samples[~there] = 0
        shares = self._taps(self._shares, box)
        missing = self._share(~there, shares, place)
        share = np.maximum(1 - missing, _LEAST)
        made = self._along(samples, self._shares, shares, place)
        np.divide(made, share, out=made, where=missing > 0)
        if "cubic" in self._methods:
            far = ~self._near(~there, taps, place)
            made[far] = self._along(samples, self._methods, taps, place)[far]
        if self.nodata is not None:  # of this channel alone: the model sees what the file says
            made[missing >= 1 - _LEAST] = self.nodata
        if there is not seen or self.nodata is None:
            unseen = self._share(~seen, shares, place)
            made[unseen >= 1 - _LEAST] = np.nan
        return made

    def _near(self, missing: Mask, taps: tuple[Taps, ...], place: Box) -> Mask:
        """Return where one of the `_SHY` samples on either side of a place is missing."""
        found: Any = missing
        for axis, method in enumerate(self._methods):
            index = taps[axis].index - place.start[axis]
            more = _SHY - 2 if method == "cubic" else 0  # besides the two on either side
            low, high = index[:, 0] - more, index[:, -1] + 1 + more
            counts = np.cumsum(found, axis=axis, dtype=np.int32)
            counts = np.insert(counts, 0, 0, axis=axis)
            last = counts.shape[axis] - 1
            found = counts.take(high.clip(0, last), axis) > counts.take(low.clip(0, last), axis)
        near: Mask = found
        return near

    def _limit(self, bound: NDArray[Any], channel: int, taps: tuple[Taps, ...]) -> NDArray[Any]:
        """Return the limit of a channel's samples, to be broadcast with the box."""
        one: NDArray[Any] = bound[min(channel, len(bound) - 1)]
        for axis, tap in enumerate(taps):
            if one.shape[axis] > 1:
                one = one.take(tap.index[:, 0], axis=axis)
        return one

    def _overview_picks(self, shape: tuple[int, ...], limit: int) -> list[NDArray[np.int64]]:
        """Return which samples of the image's overview stand for those of this one's."""
        picks = []
        for axis, seen in enumerate(shape):
            n, extent = self.grid.shape[axis], self.inner.grid.shape[axis]
            m = min(n, limit)
            place = self._scaling.scale[axis] * (np.arange(m) + 0.5) * n / m
            place = (place + self._scaling.offset[axis]) * seen / extent
            picks.append(np.clip(place.astype(np.int64), 0, seen - 1))
        return picks
