"""The ring of a sweep's scores: rows that are not final yet, one window deep.

Bits: a sample's score must depend on the lattice alone. Weights, products and sums are separate
operations (a fused multiply-add would make the bits depend on where a vector loop ends), and
windows are added in the order they are given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..models import Activation
from ..tiling import TilePlan
from ._rings import pieces

#: Logit of what is certain, where logits are blended: a score of 1 to nine digits.
CERTAIN = 20.0


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
        reached: What the score of every channel must reach for its label to be given, -inf: what it
            must without; None: no channel has such a limit.
        pending: What turns final numbers into scores, where that is not done yet.
    """

    limit: float = 0.5
    reached: NDArray[np.float32] | None = None
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
        #: Whether what is blended are not scores yet.
        self.logits = logits = plan.blend == "logits" and activation != "none"
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
        if self.logits:
            self.gather(box, -CERTAIN * weights, slice(self.outputs))
            weights = 2 * CERTAIN * weights
        if channel is not None:
            self.gather(box, weights, slice(channel, channel + 1))
        self.gather_weights(box, where, offset)

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

    def gather_weights(self, box: Box, where: tuple[int, ...], offset: Box) -> None:
        """Add up the weights of a window, where they do not sum to one."""
        if self.plan.weight_map is not None:
            self.gather(box, self.weights(where, offset)[None], slice(self.outputs, None))

    @property
    def admits(self) -> bool:
        """Whether labels are those of the best channel among those that reach their limits."""
        return self.reached is not None and self.outputs > 1 and not self.painted

    @property
    def limits(self) -> NDArray[np.float32]:
        """What the score of every channel must exceed."""
        if self.reached is None:
            return np.full(self.outputs, self.limit, np.float32)
        usual = np.float32(-np.inf if self.admits else ScoreRing.limit)
        below = np.nextafter(self.reached, np.float32(-np.inf))
        return np.where(np.isneginf(self.reached), usual, below)

    def close(self) -> None:  # noqa: B027 - only the host has threads
        """Let go of threads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
