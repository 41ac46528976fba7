"""The ring of scores on the host: compiled loops, shared among threads by rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..models import Activation
from ..tiling import TilePlan
from . import _kernels as kernels
from ._score_ring import ScoreRing

#: First and end place in a window, and where the first lies in the ring.
Span = tuple[int, int, int]
_CODES = {"none": kernels.NONE, "sigmoid": kernels.SIGMOID, "softmax": kernels.SOFTMAX}
#: Shares of rows per thread: the threads that read and write take some of the time.
_SHARES = 4


class HostRing(ScoreRing):
    """Compiled loops, shared among the plan's threads by rows."""

    def __init__(
        self,
        plan: TilePlan,
        core: Box,
        scores: torch.Tensor,
        activation: Activation,
        painted: bool = False,
    ) -> None:
        super().__init__(plan, core, scores, activation, painted)
        self._ring = swept(scores)
        weights = plan.weight_map
        if weights is None:
            weights = np.empty((0,) * 3, np.float32)
        self._map = weights if weights.ndim == 3 else weights[:, None]
        self._pool = ThreadPoolExecutor(plan.threads, thread_name_prefix="blend")
        self._fine = True

    def add(self, raw: torch.Tensor, where: tuple[int, ...]) -> None:
        tapers = [self.plan.tapers[axis][i] for axis, i in enumerate(where)]
        if len(tapers) == 2:
            tapers.insert(1, np.ones(1, np.float32))
        values, code = swept(raw), _CODES[self.before]

        def add(rows: Span, columns: Span, samples: Span) -> bool:
            fine: bool = kernels.add_rows(
                values, self._ring, code, rows, columns, samples, tuple(tapers), self._map
            )
            return fine

        self._add(where, add)

    def _add(self, where: tuple[int, ...], add: Callable[[Span, Span, Span], bool]) -> None:
        """Have threads add what a window weighs on: rows, columns and samples of it."""
        box, offset = self.kept(where)
        inner = box.relative_to(self.core)
        spans = [
            (o, o + n, i) for o, n, i in zip(offset.start, box.shape, inner.start, strict=True)
        ]
        if len(spans) == 2:
            spans.insert(1, (0, 1, 0))

        def some(first: int, end: int) -> bool:
            row = (box.start[0] + first - offset.start[0]) % self.depth
            return add((first, end, row), spans[1], spans[2])

        self._fine &= all(self.share(some, offset.start[0], offset.stop[0]))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _finite(self) -> bool:
        return self._fine

    def _finish(self, rows: slice) -> None:
        def finish(first: int, end: int) -> None:
            kernels.finish_rows(self._ring, first, end, self.outputs, _CODES[self.after])

        self.share(finish, rows.start, rows.stop)

    def _decide(self, rows: slice, labels: NDArray[Any]) -> NDArray[Any]:
        best = self._best(self._ring[: self.outputs], rows, labels)
        return best.reshape(-1, *self.core.shape[1:])

    def settle(self, scores: torch.Tensor, labels: NDArray[Any]) -> NDArray[Any]:
        values, code = swept(scores), _CODES[self.later]

        def finish(first: int, end: int) -> None:
            kernels.finish_rows(values, first, end, self.outputs, code)

        if self.later != "none":
            self.share(finish, 0, scores.shape[1])
        return self._best(values, slice(0, scores.shape[1]), labels).reshape(scores.shape[1:])

    def _best(self, scores: NDArray[np.float32], rows: slice, labels: NDArray[Any]) -> NDArray[Any]:
        found = np.empty((rows.stop - rows.start, *scores.shape[2:]), labels.dtype)

        def decide(first: int, end: int) -> None:
            part = found[first - rows.start : end - rows.start]
            self._choose(scores, first, labels, part)

        self.share(decide, rows.start, rows.stop)
        return found

    def _choose(
        self, scores: NDArray[np.float32], first: int, labels: NDArray[Any], found: NDArray[Any]
    ) -> None:
        """Write the labels of rows of scores from ``first`` on."""
        if self.admits:
            kernels.admit_rows(scores, first, self.limits, labels, found)
        elif self.painted or self.reached is not None:
            kernels.paint_rows(scores, first, self.limits, labels, found)
        else:
            kernels.decide_rows(scores, first, labels, found)

    def share(self, work: Callable[[int, int], Any], start: int, stop: int) -> list[Any]:
        """Do a work on rows [start, stop) in all threads."""
        threads = self.plan.threads
        step = -(-(stop - start) // (threads * _SHARES if threads > 1 else 1))
        firsts = range(start, stop, max(1, step))
        ends = [min(first + step, stop) for first in firsts]
        return list((map if threads == 1 else self._pool.map)(work, firsts, ends))


def swept(scores: torch.Tensor) -> NDArray[Any]:
    """Return scores (k, rows, *inner) with two inner axes, as numpy sees them."""
    array: NDArray[Any] = scores.contiguous().numpy()
    return array if array.ndim == 4 else array[:, :, None]
