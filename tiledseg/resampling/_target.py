"""From scores on the model's grid to the grid of the result: what is made of what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..grid import Grid
from ._scaling import Method, Scaling, Taps
from ._torch_axis import TorchAxis


@dataclass(frozen=True)
class Target:
    """The grid of the result, where it is not the model's, and how scores get there.

    Args:
        grid: Grid of the result, its axes parallel to those of the model's grid.
        extent: Shape of the model's grid.
        scaling: From ``grid`` to the model's grid.
        methods: How scores are interpolated, per axis: ``nearest`` or ``linear``.
        logits: Whether a model blended in logits has them interpolated, and made scores afterwards.
    """

    grid: Grid
    extent: tuple[int, ...]
    scaling: Scaling
    methods: tuple[Method, ...]
    logits: bool = False

    def taps(self, axis: int, start: int, stop: int) -> Taps:
        """Return what samples [start, stop) along an axis are made of."""
        method = "nearest" if self.scaling.keeps(axis) else self.methods[axis]
        return self.scaling.taps(method, axis, self.extent[axis], start, stop)

    @cached_property
    def _ends(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """Per axis, the first and the last sample that every sample of the result is made of."""
        taps = (self.taps(axis, 0, n).index for axis, n in enumerate(self.grid.shape))
        return tuple((index[:, 0].copy(), index[:, -1].copy()) for index in taps)

    def scored(self, core: Box) -> Box:
        """Return the samples of the model's grid that ``core``, not empty, is made of."""
        ends = list(zip(self._ends, core.start, core.stop, strict=True))
        start = tuple(int(first[a]) for (first, _), a, _ in ends)
        return Box(start, tuple(int(last[b - 1]) + 1 for (_, last), _, b in ends))

    def users(self, box: Box) -> Box:
        """Return the samples of the result that ``box`` of the model's grid has a part in."""
        start, stop = [], []
        for (first, last), a, b in zip(self._ends, box.start, box.stop, strict=True):
            start.append(int(np.searchsorted(last, a, side="left")))
            stop.append(max(start[-1], int(np.searchsorted(first, b, side="left"))))
        return Box(tuple(start), tuple(stop))

    def complete(self, row: int) -> int:
        """Return the first row of the result that needs a row from ``row`` of the model's on."""
        return int(np.searchsorted(self._ends[0][1], row, side="left"))

    def needed(self, wanted: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
        """Return which samples of ``box`` of the model's grid have a part in a wanted sample.

        Args:
            wanted: Where a result is wanted in ``users(box)``.
            box: Of the model's grid; it may stick out.
        """
        place = self.users(box)
        for axis, (first, last) in enumerate(self._ends):
            samples = np.arange(box.start[axis], box.stop[axis])
            low = np.searchsorted(last, samples, side="left") - place.start[axis]
            high = np.searchsorted(first, samples, side="right") - place.start[axis]
            shape = [1 if a == axis else n for a, n in enumerate(wanted.shape)]
            counts = np.cumsum(wanted, axis=axis, dtype=np.int32)
            counts = np.concatenate([np.zeros(shape, np.int32), counts], axis=axis)
            high = np.maximum(low, high)
            wanted = counts.take(high, axis=axis) > counts.take(low, axis=axis)
        return wanted

    def seams(self, axis: int, seams: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the samples of the result beyond seams at samples of the model's grid."""
        centres = self.scaling.centres(axis, 0, self.grid.shape[axis])
        found = np.unique(np.searchsorted(centres, seams - 0.5, side="left"))
        return found[(found > 0) & (found < self.grid.shape[axis])].astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` turns back into this."""
        torch = self.scaling.torch
        return {
            "grid": self.grid.to_dict(),
            "extent": list(self.extent),
            "scale": list(self.scaling.scale),
            "offset": list(self.scaling.offset),
            "torch": None if torch is None else [axis.offset for axis in torch],
            "methods": list(self.methods),
            "logits": self.logits,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Target:
        """Return the target `to_dict` described."""
        scaling = Scaling(tuple(values["scale"]), tuple(values["offset"]))
        extent, methods = tuple(values["extent"]), tuple(values["methods"])
        grid = Grid.from_dict(values["grid"])
        if values["torch"] is not None:
            axes = zip(grid.shape, extent, scaling.scale, values["torch"], strict=True)
            scaling = Scaling.of_torch([TorchAxis(*axis) for axis in axes])
        return cls(grid, extent, scaling, methods, values["logits"])
