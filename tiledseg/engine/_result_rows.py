"""Scores on the model's grid -> scores on the grid of the result, a few rows at a time.

Rows that are final arrive once, in order, and wait in a ring until the rows of the result that they
have a part in are complete. A sample is a sum of products in float32, of one fixed order, so its
bits depend on the scores it is made of and on the two grids alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..budget import result_rows
from ..resampling import Taps, Target
from ..taper import Taper
from ..tiling import TilePlan
from . import _half_kernels as half_kernels
from . import _kernels as kernels
from ._score_ring import Final, ScoreRing


class ResultRows(ABC):
    """The rows of one tile's core, made of scores on the model's grid.

    Args:
        target: The grid of the result.
        core: Box of the tile's core, there.
        scores: Ring of the rows that wait, (k, depth, *inner), float32; row r at ``r % depth``.
    """

    def __init__(self, target: Target, core: Box, scores: torch.Tensor) -> None:
        self.target, self.core, self.scores = target, core, scores
        self.depth = scores.shape[1]
        self.first = target.scored(core).start
        self.taps = [
            target.taps(axis, core.start[axis], core.stop[axis]) for axis in range(len(core.start))
        ]
        self._loaded = self.first[0]
        self._next = self._told = core.start[0]
        self._wanted: list[NDArray[np.bool_]] = []

    # ----------------------------------------------------------------- where wanted

    def ask(self, first: int, wanted: NDArray[np.bool_]) -> None:
        """Take where a result is wanted, in rows from ``first`` on; those known are left out."""
        rows = wanted[max(0, self._told - first) : max(0, self.core.stop[0] - first)]
        if len(rows):
            self._wanted.append(rows)
            self._told += len(rows)

    def ready(self, stop: int) -> tuple[Box, NDArray[np.bool_]]:
        """Return the next rows of the core that need no row from ``stop`` on, and where wanted."""
        high = max(self._next, min(self.core.stop[0], self.target.complete(stop)))
        box = self.core.along(0, self._next, high)
        wanted = np.concatenate([np.zeros((0, *box.shape[1:]), np.bool_), *self._wanted])
        self._wanted = [wanted[box.shape[0] :]]
        return box, wanted[: box.shape[0]]

    # ----------------------------------------------------------------- scores

    def finals(
        self, ring: ScoreRing, rows: tuple[int, int], labels: NDArray[Any]
    ) -> Iterator[Final]:
        """Yield the rows that `ready` named, a few at a time.

        Args:
            ring: The scores on the model's grid.
            rows: First and end row of those that became final there.
            labels: Label of every channel; two for a single channel.
        """
        begun, step = self._next, self.depth - 1
        for _, piece in ring.drain(*rows):
            for row in range(0, piece.shape[1], step):
                self._hold(piece[:, row : row + step])
                stop = min(self.core.stop[0], self.target.complete(self._loaded))
                while self._next < stop:
                    end = min(self._next + step, stop)
                    part = slice(self._next - begun, end - begun)
                    scores = self._made(self._next - self.core.start[0], end - self._next, ring)
                    yield Final(part, scores, ring.settle(scores, labels))
                    self._next = end

    def _hold(self, rows: torch.Tensor) -> None:
        """Keep rows until those of the result that they have a part in are made."""
        rows = self._prepared(rows)
        for row in range(rows.shape[1]):
            self.scores[:, self._loaded % self.depth] = rows[:, row]
            self._loaded += 1

    @abstractmethod
    def _prepared(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows of the model's grid as they are kept."""

    @abstractmethod
    def _made(self, first: int, count: int, ring: ScoreRing) -> torch.Tensor:
        """Return rows of the core, counted from its first, (k, count, *inner), contiguous."""


def open_result_rows(
    plan: TilePlan, core: Box, outputs: int, device: torch.device
) -> ResultRows | None:
    """Return what makes a core's rows, or None where it lies on the model's grid itself."""
    if plan.target is None:
        return None
    depth = 1 + result_rows(outputs, prod(core.shape[1:]))  # besides new rows, the last old one
    if device.type == "cpu":
        scored = plan.scored(core).shape[1:]
        rows = torch.empty((outputs, depth, *scored))
        return _HostRows(plan.target, core, rows, halves=plan.taper is Taper.NNUNET)
    rows = torch.empty((outputs, depth, *core.shape[1:]), device=device)
    return _DeviceRows(plan.target, core, rows)


class _HostRows(ResultRows):
    """Rows wait as they are; a compiled loop makes those of the result of them in one go.

    Args:
        target: As for `ResultRows`.
        core: As there.
        scores: As there.
        halves: Whether sums are taken in float64 and rounded to half precision, as nnU-Net does.
    """

    def __init__(
        self, target: Target, core: Box, scores: torch.Tensor, halves: bool = False
    ) -> None:
        super().__init__(target, core, scores)
        self._make: Any = half_kernels.make_half_rows if halves else kernels.make_rows
        kind = np.float64 if halves else np.float32
        axes = [
            (tap.index - first, tap.weight.astype(kind))
            for tap, first in zip(self.taps, (0, *self.first[1:]), strict=True)
        ]
        if len(axes) == 2:
            axes.insert(1, (np.zeros((1, 1), np.int64), np.ones((1, 1), kind)))
        self._rows, self._columns, self._samples = axes
        ring: NDArray[np.float32] = scores.numpy()
        self._ring = ring if ring.ndim == 4 else ring[:, :, None]

    def _prepared(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    def _made(self, first: int, count: int, ring: ScoreRing) -> torch.Tensor:
        index, weight = (part[first : first + count] for part in self._rows)
        rows = (index % self.depth, weight)
        shape = (len(self._ring), count, len(self._columns[0]), len(self._samples[0]))
        found = np.empty(shape, np.float32)

        def make(start: int, stop: int) -> None:
            span = (start, stop)
            self._make(self._ring, rows, self._columns, self._samples, span, found)

        ring.share(make, 0, shape[2])
        return torch.from_numpy(found.reshape(len(found), count, *self.core.shape[1:]))


@dataclass(frozen=True, slots=True)
class _Weights:
    """Taps of an axis, one after the other: indices, and float32 weights; both of length n."""

    index: list[torch.Tensor]
    weight: list[torch.Tensor]

    @classmethod
    def of(cls, taps: Taps, index: NDArray[np.int64], device: torch.device) -> _Weights:
        """Return taps, with indices of their own, on a device."""
        weight = torch.from_numpy(taps.weight.astype(np.float32).T.copy()).to(device)
        return cls(list(torch.from_numpy(index.T.copy()).to(device)), list(weight))


class _DeviceRows(ResultRows):
    """Whole-array steps on a GPU: rows are interpolated along their own axes before they wait."""

    def __init__(self, target: Target, core: Box, scores: torch.Tensor) -> None:
        super().__init__(target, core, scores)
        self._inner = [
            _Weights.of(tap, tap.index - first, scores.device)
            for tap, first in zip(self.taps[1:], self.first[1:], strict=True)
        ]

    def _prepared(self, rows: torch.Tensor) -> torch.Tensor:
        for axis, weights in enumerate(self._inner, start=2):
            rows = _summed(rows, axis, weights)
        return rows

    def _made(self, first: int, count: int, ring: ScoreRing) -> torch.Tensor:
        part = slice(first, first + count)
        taps = Taps(self.taps[0].index[part], self.taps[0].weight[part])
        return _summed(self.scores, 1, _Weights.of(taps, taps.index % self.depth, ring.device))


def _summed(scores: torch.Tensor, axis: int, weights: _Weights) -> torch.Tensor:
    """Return scores with one axis made of weighted samples; product and sum are separate steps."""
    shape = [1] * scores.ndim
    shape[axis] = -1
    total = scores.index_select(axis, weights.index[0])
    if len(weights.index) == 1:
        return total
    total.mul_(weights.weight[0].view(shape))
    for index, weight in zip(weights.index[1:], weights.weight[1:], strict=True):
        total.add_(scores.index_select(axis, index).mul_(weight.view(shape)))
    return total
