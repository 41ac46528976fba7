"""The ring of a sweep in half precision, as nnU-Net blends.

Raw outputs are weighted and added, weights are added beside them, and the sums are divided once
rows are final. Every sum is rounded to half precision. That costs accuracy and is done for one
reason: nnU-Net's labels depend on it. Of several networks (`Model.stacked`) each has sums of its
own, and their mean is taken last.

The activation comes after: the arg max of raw outputs is that of softmax, and where labels are
painted the limit is that of raw outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..budget import HALF_ROOM
from ..models import Model, activate
from ..tiling import TilePlan
from . import _half_kernels as kernels
from ._device_ring import DeviceRing
from ._host_ring import HostRing, Span, swept
from ._rings import pieces
from ._score_ring import CERTAIN, Final, ScoreRing

#: The largest half whose sigmoid in float32 is still 0.5.
_LIMIT = 2.0**-24


def open_half_ring(plan: TilePlan, core: Box, model: Model) -> ScoreRing:
    """Return a ring for a model's raw outputs, on its device."""
    shape = (model.stacked * model.card.outputs, plan.window[0], *core.shape[1:])
    if model.device.type == "cpu":
        return _HalfHostRing(plan, core, torch.from_numpy(np.zeros(shape, np.uint16)), model)
    sums = torch.zeros(shape, dtype=torch.half, device=model.device)
    return _HalfDeviceRing(plan, core, sums, model)


class _HalfHostRing(HostRing):
    """Compiled loops on the bits of halves."""

    limit = _LIMIT

    def __init__(self, plan: TilePlan, core: Box, sums: torch.Tensor, model: Model) -> None:
        super().__init__(plan, core, sums, model.card.activation, model.card.painted)
        self.outputs, self.pending = model.card.outputs, model.card.activation
        self._counts = np.zeros(self._ring.shape[1:], np.uint16)
        rows = max(1, HALF_ROOM // (self.outputs * self._counts[0].size))
        rows = min(rows, self.depth)
        self._mean = np.empty((self.outputs, rows, *self._counts.shape[1:]), np.float32)

    def add(self, raw: torch.Tensor, where: tuple[int, ...]) -> None:
        self._add_to(self._ring, self._counts, swept(raw), where)

    def add_certain(self, channel: int | None, where: tuple[int, ...]) -> None:
        counts = self._counts
        size = (1, *self._map.shape)
        for place in range(len(self._ring)):
            wanted = _certainty(place % self.outputs, channel, self.pending)
            if wanted:
                raw = np.full(size, wanted, np.float32)
                self._add_to(self._ring[place : place + 1], counts, raw, where)
                counts = np.zeros_like(counts)  # weights are counted once

    def take(self, low: int, high: int, labels: NDArray[Any]) -> Iterator[Final]:
        for rows, mean in self.drain(low, high):
            yield Final(rows, mean, self._labels(mean, labels))

    def drain(self, low: int, high: int) -> Iterator[tuple[slice, torch.Tensor]]:
        if not self._finite():
            raise FloatingPointError("the model gave NaN or infinity")
        most = self._mean.shape[1]
        for rows, part in pieces(low, high, self.depth):
            for row in range(rows.start, rows.stop, most):
                count = min(most, rows.stop - row)
                first = part.start + row - rows.start
                mean = torch.from_numpy(self._divided(row, count))
                yield slice(first, first + count), mean.reshape(len(mean), -1, *self.core.shape[1:])
            self._ring[:, rows] = 0
            self._counts[rows] = 0

    def settle(self, scores: torch.Tensor, labels: NDArray[Any]) -> NDArray[Any]:
        return self._labels(scores.copy_(scores.half()), labels)

    def _labels(self, scores: torch.Tensor, labels: NDArray[Any]) -> NDArray[Any]:
        scores = _likely(self, scores)
        found = self._best(swept(scores), slice(0, scores.shape[1]), labels)
        return found.reshape(scores.shape[1:])

    def _divided(self, row: int, count: int) -> NDArray[np.float32]:
        """Return the mean of all networks in ring rows from ``row`` on.

        Raises:
            FloatingPointError: A sum is beyond half precision.
        """
        mean = self._mean if count == self._mean.shape[1] else self._mean[:, :count].copy()
        by_rows = mean.shape[2] == 1

        def divide(first: int, end: int) -> bool:
            rows, columns = ((first, end), (0, 1)) if by_rows else ((0, count), (first, end))
            fine: bool = kernels.divide_rows(self._ring, self._counts, row, rows, columns, mean)
            return fine

        if not all(self.share(divide, 0, count if by_rows else mean.shape[2])):
            raise FloatingPointError(
                "sums of the model's outputs exceed 65504, the largest number of half precision: "
                "choose another tiling.taper"
            )
        return mean

    def _add_to(
        self,
        sums: NDArray[np.uint16],
        counts: NDArray[np.uint16],
        raw: NDArray[np.float32],
        where: tuple[int, ...],
    ) -> None:
        def add(rows: Span, columns: Span, samples: Span) -> bool:
            fine: bool = kernels.add_half_rows(raw, sums, counts, self._map, rows, columns, samples)
            return fine

        self._add(where, add)


class _HalfDeviceRing(DeviceRing):
    """Whole-window steps on a GPU."""

    limit = _LIMIT

    def __init__(self, plan: TilePlan, core: Box, sums: torch.Tensor, model: Model) -> None:
        super().__init__(plan, core, sums, model.card.activation, model.card.painted)
        self.outputs, self.pending = model.card.outputs, model.card.activation
        self._counts = torch.zeros_like(sums[:1])
        self._weights = torch.from_numpy(plan.weight_map).half().to(sums.device)

    def add(self, raw: torch.Tensor, where: tuple[int, ...]) -> None:
        box, offset = self.kept(where)
        part = raw[(slice(None), *offset.slices)]
        self._sum += part.sum()
        self._gather(box, offset, part)

    def add_certain(self, channel: int | None, where: tuple[int, ...]) -> None:
        box, offset = self.kept(where)
        values = [
            _certainty(place % self.outputs, channel, self.pending)
            for place in range(len(self.scores))
        ]
        raw = torch.tensor(values, device=self.scores.device)
        self._gather(box, offset, raw.reshape(-1, *(1,) * len(where)))

    def take(self, low: int, high: int, labels: NDArray[Any]) -> Iterator[Final]:
        for rows, mean in self.drain(low, high):
            chosen = self._choose(_likely(self, mean))
            yield Final(rows, mean, np.take(labels, chosen.cpu().numpy()))

    def drain(self, low: int, high: int) -> Iterator[tuple[slice, torch.Tensor]]:
        if not self._finite():
            raise FloatingPointError("the model gave NaN or infinity")
        for rows, part in pieces(low, high, self.depth):
            counts = self._counts[:, rows].masked_fill(self._counts[:, rows] == 0, 1)
            each = torch.chunk(self.scores[:, rows] / counts, len(self.scores) // self.outputs)
            mean = each[0]
            for other in each[1:]:
                mean = mean + other
            yield part, (mean / len(each) if len(each) > 1 else mean).float()
            self.scores[:, rows].zero_()
            self._counts[:, rows].zero_()

    def settle(self, scores: torch.Tensor, labels: NDArray[Any]) -> NDArray[Any]:
        chosen = self._choose(_likely(self, scores.copy_(scores.half())))
        return np.take(labels, chosen.cpu().numpy())

    def _gather(self, box: Box, offset: Box, raw: torch.Tensor) -> None:
        weights = self._weights[offset.slices]
        self.gather(box, raw * weights)
        inner = box.relative_to(self.core).slices[1:]
        for rows, part in pieces(box.start[0], box.stop[0], self.depth):
            self._counts[(slice(None), rows, *inner)].add_(weights[part])


def _likely(ring: ScoreRing, mean: torch.Tensor) -> torch.Tensor:
    """Return what labels are told from: scores where these have limits, else raw outputs."""
    return mean if ring.reached is None else activate(mean, ring.pending)


def _certainty(output: int, channel: int | None, activation: str) -> float:
    """Return the raw output that stands for one channel, or for none where that is None."""
    if output == channel:
        return CERTAIN
    return 0.0 if activation == "softmax" else -CERTAIN
