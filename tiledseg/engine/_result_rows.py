"""Scores on the model's grid -> scores on the grid of the result, a few rows at a time.

Rows that are final arrive once, in order. Each is interpolated along its own axes and waits until
the rows of the result that it has a part in are complete. A sample is a sum of products in float32,
of one fixed order, so its bits depend on the scores it is made of and on the two grids alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..budget import result_rows
from ..resampling import Taps
from ..tiling import TilePlan
from ._score_ring import Final

#: Final rows of the model's grid: which of the rows asked for, and their scores (k, rows, *inner).
Drained = Iterator[tuple[slice, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class _Weights:
    """Taps of an axis, one after the other: indices, and float32 weights; both of length n."""

    index: list[torch.Tensor]
    weight: list[torch.Tensor]

    @classmethod
    def of(cls, taps: Taps, first: int, device: torch.device) -> _Weights:
        """Return taps whose indices are counted from ``first``, on a device."""
        index = torch.from_numpy(taps.index - first).to(device)
        weight = torch.from_numpy(taps.weight.astype(np.float32)).to(device)
        return cls(list(index.T.contiguous()), list(weight.T.contiguous()))


class ResultRows:
    """The rows of one tile's core, made of scores on the model's grid.

    Args:
        plan: A plan whose target is another grid than the model's.
        core: Box of the tile's core, on the grid of the result.
        outputs: Channels of the scores.
        device: Where they are.
    """

    def __init__(self, plan: TilePlan, core: Box, outputs: int, device: torch.device) -> None:
        if plan.target is None:
            raise ValueError("the plan's result lies on the model's grid")
        self._target, self._core = plan.target, core
        scored = plan.scored(core)
        taps = [plan.target.taps(a, core.start[a], core.stop[a]) for a in range(len(core.start))]
        self._rows = taps[0]
        self._inner = [
            None
            if plan.target.scaling.keeps(axis)
            else _Weights.of(tap, scored.start[axis], device)
            for axis, tap in enumerate(taps)
            if axis > 0
        ]
        self._device = device
        self._step = result_rows(outputs, prod(core.shape[1:]))
        self._first = self._loaded = scored.start[0]
        self._next = core.start[0]
        self._held: torch.Tensor | None = None
        self._wanted: list[NDArray[np.bool_]] = []
        self._told = core.start[0]

    # ----------------------------------------------------------------- where wanted

    def ask(self, first: int, wanted: NDArray[np.bool_]) -> None:
        """Take where a result is wanted, in rows from ``first`` on; those known are left out."""
        rows = wanted[max(0, self._told - first) : max(0, self._core.stop[0] - first)]
        if len(rows):
            self._wanted.append(rows)
            self._told += len(rows)

    def ready(self, stop: int) -> tuple[Box, NDArray[np.bool_]]:
        """Return the next rows of the core that need no row from ``stop`` on, and where wanted."""
        high = max(self._next, min(self._core.stop[0], self._target.complete(stop)))
        box = self._core.along(0, self._next, high)
        wanted = np.concatenate([np.zeros((0, *box.shape[1:]), np.bool_), *self._wanted])
        self._wanted = [wanted[box.shape[0] :]]
        return box, wanted[: box.shape[0]]

    # ----------------------------------------------------------------- scores

    def finals(
        self, drained: Drained, decide: Callable[[torch.Tensor], NDArray[Any]]
    ) -> Iterator[Final]:
        """Yield the rows that `ready` named, a few at a time.

        Args:
            drained: The model's rows that became final, in order.
            decide: Scores (k, rows, *inner) to labels; it may change them in place.
        """
        begun = self._next
        for _, piece in drained:
            for row in range(0, piece.shape[1], self._step):
                self._hold(piece[:, row : row + self._step])
                while (rows := self._complete()) is not None:
                    scores = self._between(rows)
                    yield Final(
                        slice(rows.start - begun, rows.stop - begun), scores, decide(scores)
                    )
                    self._next = rows.stop
                    self._forget()

    def _hold(self, rows: torch.Tensor) -> None:
        """Interpolate rows along their own axes and keep them."""
        for axis, weights in enumerate(self._inner, start=2):
            if weights is not None:
                rows = _summed(rows, axis, weights)
        self._loaded += rows.shape[1]
        held = self._held
        self._held = rows.clone() if held is None else torch.cat([held, rows], dim=1)

    def _complete(self) -> slice | None:
        """Return some rows of the core that what is held suffices for, or None."""
        stop = min(self._core.stop[0], self._target.complete(self._loaded))
        stop = min(stop, self._next + self._step)
        return slice(self._next, stop) if stop > self._next else None

    def _between(self, rows: slice) -> torch.Tensor:
        """Return rows of the core."""
        part = slice(rows.start - self._core.start[0], rows.stop - self._core.start[0])
        taps = Taps(self._rows.index[part], self._rows.weight[part])
        if self._held is None:
            raise ValueError("rows of the result were asked for before those of the model")
        return _summed(self._held, 1, _Weights.of(taps, self._first, self._device))

    def _forget(self) -> None:
        """Let go of rows that no later row of the core is made of."""
        later = self._rows.index[self._next - self._core.start[0] :, 0]
        first = min(self._loaded, int(later[0])) if len(later) else self._loaded
        if self._held is not None and first > self._first:
            self._held = self._held[:, first - self._first :].clone()
            self._first = first


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
