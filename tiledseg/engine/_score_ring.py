"""The ring of a sweep's scores: rows that are not final yet, one window deep.

Bits: a sample's score must depend on the lattice alone. Weights, products and sums are separate
operations (a fused multiply-add would make the bits depend on where a vector loop ends), and
windows are added in the order they are given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..models import Activation, Model, activate, decide, paint
from ..tiling import TilePlan
from . import _kernels as kernels
from ._rings import pieces

#: First and end place in a window, and where the first lies in the ring.
Span = tuple[int, int, int]
_CODES = {"none": kernels.NONE, "sigmoid": kernels.SIGMOID, "softmax": kernels.SOFTMAX}
#: Shares of rows per thread: the threads that read and write take some of the time.
_SHARES = 4
#: Logit of what is certain, where logits are blended: a score of 1 to nine digits.
_CERTAIN = 20.0


class Final(NamedTuple):
    """Final rows.

    Args:
        rows: Which of the rows asked for.
        scores: (k, rows, *inner), valid until the next are asked for.
        labels: (rows, *inner).
    """

    rows: slice
    scores: torch.Tensor
    labels: NDArray[Any]


class ScoreRing(ABC):
    """Weighted scores of core rows that are not final yet.

    Args:
        plan: The plan.
        core: Box of the tile's core, on the model's grid.
        scores: Zeros, (k, window rows, *inner of the core), float32; with weights that come as a
            map one channel more, for what they sum to.
        activation: What turns raw outputs into scores.
        painted: Whether labels are painted over one another where a score exceeds `limit`, rather
            than the best channel's taken.

    Attributes:
        limit: What a score must exceed, where labels are painted.
        pending: What turns final numbers into scores, where that is not done yet.
    """

    limit: float = 0.5
    pending: Activation = "none"

    def __init__(
        self,
        plan: TilePlan,
        core: Box,
        scores: torch.Tensor,
        activation: Activation,
        painted: bool = False,
    ) -> None:
        self.plan, self.core, self.scores, self.painted = plan, core, scores, painted
        self.depth, self.outputs = plan.window[0], len(scores) - (plan.weight_map is not None)
        logits = plan.blend == "logits" and activation != "none"
        late = logits and plan.target is not None and plan.target.logits
        #: What is applied to every window's output, to the blended rows, and to the result's rows.
        self.before: Activation = "none" if logits else activation
        self.after: Activation = activation if logits and not late else "none"
        self.later: Activation = activation if late else "none"
        self._tapers = [[torch.from_numpy(t).to(scores.device) for t in a] for a in plan.tapers]

    @abstractmethod
    def add(self, raw: torch.Tensor, where: tuple[int, ...]) -> None:
        """Add the raw output (k, *window) of the window at ``where``, activated and weighted."""

    @abstractmethod
    def _finish(self, rows: slice) -> None:
        """Turn what was added up in some rows of the ring into scores."""

    @abstractmethod
    def _finite(self) -> bool:
        """Whether all that was added is finite."""

    @abstractmethod
    def _decide(self, rows: slice, labels: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of some rows of the ring."""

    @abstractmethod
    def settle(self, scores: torch.Tensor, labels: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of rows of the result, whose logits become scores in place.

        Args:
            scores: (k, rows, *inner), contiguous, interpolated from rows that were drained.
            labels: Label of every channel; two for a single channel.
        """

    def add_certain(self, channel: int | None, where: tuple[int, ...]) -> None:
        """Add a window that is wholly one channel, its score 1; None: every score is 0."""
        box, offset = self.kept(where)
        weights = self.weights(where, offset)[None]
        if self.after != self.later:  # logits
            self.gather(box, -_CERTAIN * weights, slice(self.outputs))
            weights = 2 * _CERTAIN * weights
        if channel is not None:
            self.gather(box, weights, slice(channel, channel + 1))
        self._gather_weights(box, where, offset)

    def take(self, low: int, high: int, labels: NDArray[Any]) -> Iterator[Final]:
        """Yield final core rows [low, high), and empty them.

        Args:
            low: First row.
            high: End row.
            labels: Label of every channel; two for a single channel.

        Raises:
            FloatingPointError: The model gave NaN or infinity.
        """
        for rows, part in self._pieces(low, high):
            yield Final(part, self.scores[: self.outputs, rows], self._decide(rows, labels))

    def drain(self, low: int, high: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield final rows [low, high) without deciding, and empty them.

        Yields:
            Which of the rows asked for, and their scores (k, rows, *inner), valid until the next.

        Raises:
            FloatingPointError: The model gave NaN or infinity.
        """
        for rows, part in self._pieces(low, high):
            yield part, self.scores[: self.outputs, rows]

    def _pieces(self, low: int, high: int) -> Iterator[tuple[slice, slice]]:
        """Yield where final rows lie: (ring rows, rows of the request); empty them afterwards."""
        if not self._finite():
            raise FloatingPointError("the model gave NaN or infinity")
        for rows, part in pieces(low, high, self.depth):
            if self.after != "none" or self.plan.weight_map is not None:
                self._finish(rows)
            yield rows, part
            self.scores[:, rows].zero_()

    def share(self, work: Callable[[int, int], Any], start: int, stop: int) -> list[Any]:
        """Do a work on parts of [start, stop), at once where there are threads for it."""
        return [work(start, stop)]

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.scores.device

    def kept(self, where: tuple[int, ...]) -> tuple[Box, Box]:
        """Return the part of the core a window weighs on: in the image, and in the window."""
        plan = self.plan
        kept = [plan.kept[axis][i] for axis, i in enumerate(where)]
        box = Box(tuple(k[0] for k in kept), tuple(k[1] for k in kept)).intersect(self.core)
        start = tuple(axis[i] for axis, i in zip(plan.starts, where, strict=True))
        return box, box.relative_to(Box.of_shape(plan.window, start))

    def weights(self, where: tuple[int, ...], offset: Box) -> torch.Tensor:
        """Return the weights of a part of the window at ``where``."""
        if self.plan.weight_map is not None:
            return torch.from_numpy(self.plan.weight_map[offset.slices]).to(self.scores.device)
        weights = torch.ones((), device=self.scores.device)
        for axis, i in enumerate(where):
            weights = weights[..., None] * self._tapers[axis][i][offset.slices[axis]]
        return weights

    def gather(self, box: Box, weighted: torch.Tensor, channels: slice = slice(None)) -> None:
        """Add weighted scores (k, *box.shape)."""
        inner = box.relative_to(self.core).slices[1:]
        for rows, part in pieces(box.start[0], box.stop[0], self.depth):
            self.scores[(channels, rows, *inner)].add_(weighted[:, part])  # += would copy it back

    def _gather_weights(self, box: Box, where: tuple[int, ...], offset: Box) -> None:
        """Add up the weights of a window, where they do not sum to one."""
        if self.plan.weight_map is not None:
            self.gather(box, self.weights(where, offset)[None], slice(self.outputs, None))

    def close(self) -> None:  # noqa: B027 - only the host has threads
        """Let go of threads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def open_score_ring(plan: TilePlan, core: Box, model: Model) -> ScoreRing:
    """Return a ring for a model's scores, on its device."""
    card = model.card
    channels = card.outputs + (plan.weight_map is not None)
    shape = (channels, plan.window[0], *core.shape[1:])
    if model.device.type == "cpu":
        scores = torch.from_numpy(np.zeros(shape, np.float32))  # numpy asks for large pages
        return HostRing(plan, core, scores, card.activation, card.painted)
    scores = torch.zeros(shape, device=model.device)
    return DeviceRing(plan, core, scores, card.activation, card.painted)


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
        if self.painted:
            kernels.paint_rows(scores, first, np.float32(self.limit), labels, found)
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


class DeviceRing(ScoreRing):
    """Whole-window steps on a GPU: nothing is copied back but what is final."""

    def __init__(
        self,
        plan: TilePlan,
        core: Box,
        scores: torch.Tensor,
        activation: Activation,
        painted: bool = False,
    ) -> None:
        super().__init__(plan, core, scores, activation, painted)
        self._sum = torch.zeros((), device=scores.device)  # looked at when rows are final

    def add(self, raw: torch.Tensor, where: tuple[int, ...]) -> None:
        box, offset = self.kept(where)
        part = (slice(None), *offset.slices)
        self._sum += raw[part].sum()
        scores = activate(raw, self.before)  # of the whole window: bits may depend on extents
        weighted = scores[part].mul_(self.weights(where, offset))
        self.gather(box, weighted, slice(self.outputs))
        self._gather_weights(box, where, offset)

    def _finite(self) -> bool:
        return bool(torch.isfinite(self._sum))

    def _finish(self, rows: slice) -> None:
        scores = self.scores[: self.outputs, rows]
        if len(self.scores) > self.outputs:
            total = self.scores[self.outputs, rows]
            scores /= torch.where(total > 0, total, 1)  # no window where nothing is wanted
        scores.copy_(activate(scores, self.after))

    def _decide(self, rows: slice, labels: NDArray[Any]) -> NDArray[Any]:
        scores = self.scores[: self.outputs, rows]
        return np.take(labels, self._choose(scores).cpu().numpy())

    def settle(self, scores: torch.Tensor, labels: NDArray[Any]) -> NDArray[Any]:
        if self.later != "none":
            scores.copy_(activate(scores, self.later))
        return np.take(labels, self._choose(scores).cpu().numpy())

    def _choose(self, scores: torch.Tensor) -> torch.Tensor:
        return paint(scores, self.limit) if self.painted else decide(scores)
