"""The two rings of a sweep: input rows on the device, and the scores of rows not yet final.

Row r lies at ``r % depth`` of its ring. Bits: a sample's score must depend on the lattice alone, so
activation is taken in pieces fixed by the window, never by the core, and products and sums are
separate operations (a fused multiply-add would make the bits depend on where a vector loop ends).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..models import Activation, activate, decide
from ..tiling import Tile, TilePlan

#: Bytes worked on at a time on the CPU: all classes of some rows, small enough to stay in its
#: caches from the network's output to the ring. Measured: 14 classes of 96^3 take 12 ms this way,
#: 39 ms when each step goes over the whole window.
_PIECE = 4_000_000
#: Samples decided at a time on the CPU, for the same reason.
_DECIDED = 1 << 18


class Strip(NamedTuple):
    """Normalised rows of a tile's read box.

    Args:
        start: First row.
        values: (c, rows, *inner), float32, on the model's device.
        wanted: Where the result is wanted: measured, and inside the roi; (rows, *inner).
        busy: Where there is something to look at: wanted, and not air; (rows, *inner).
    """

    start: int
    values: torch.Tensor
    wanted: NDArray[np.bool_]
    busy: NDArray[np.bool_]


class InputRing:
    """The latest input rows of a tile.

    Args:
        plan: The plan.
        tile: The tile.
        channels: Channels of the model.
        strip_depth: Most rows in one strip.
        device: Where the samples are kept.
    """

    def __init__(
        self, plan: TilePlan, tile: Tile, channels: int, strip_depth: int, device: torch.device
    ) -> None:
        self._tile = tile
        self._depth = plan.window[0] + strip_depth
        inner = tile.read.shape[1:]
        shape = (channels, self._depth, *inner)
        self._values = torch.empty(shape, dtype=torch.float32, device=device)
        self._wanted = np.zeros((self._depth, *inner), dtype=np.bool_)
        self._busy = np.zeros((self._depth, *inner), dtype=np.bool_)
        self._loaded = tile.read.start[0]

    def fill(self, strips: Iterator[Strip], stop: int) -> None:
        """Take strips until row ``stop - 1`` is there."""
        while self._loaded < stop:
            strip = next(strips)
            end = strip.start + strip.values.shape[1]
            for rows, part in _pieces(strip.start, end, self._depth):
                self._values[:, rows] = strip.values[:, part]
                self._wanted[rows] = strip.wanted[part]
                self._busy[rows] = strip.busy[part]
            self._loaded = end

    def copy(self, box: Box, out: torch.Tensor) -> None:
        """Copy the samples of ``box`` into ``out``, (c, *box.shape)."""
        inner = box.relative_to(self._tile.read).slices[1:]
        for rows, part in _pieces(box.start[0], box.stop[0], self._depth):
            out[:, part] = self._values[(slice(None), rows, *inner)]

    def any_busy(self, box: Box) -> bool:
        """Whether there is something to look at in ``box``."""
        return self._any(self._busy, box)

    def any_wanted(self, box: Box) -> bool:
        """Whether a result is wanted somewhere in ``box``."""
        return self._any(self._wanted, box)

    def _any(self, mask: NDArray[np.bool_], box: Box) -> bool:
        inner = box.relative_to(self._tile.read).slices[1:]
        pieces = _pieces(box.start[0], box.stop[0], self._depth)
        return any(bool(mask[(rows, *inner)].any()) for rows, _ in pieces)

    def core_wanted(self, low: int, high: int) -> NDArray[np.bool_]:
        """Return where a result is wanted in core rows [low, high), a copy."""
        inner = self._tile.core.relative_to(self._tile.read).slices[1:]
        wanted = np.empty((high - low, *self._tile.core.shape[1:]), dtype=np.bool_)
        for rows, part in _pieces(low, high, self._depth):
            wanted[part] = self._wanted[(rows, *inner)]
        return wanted


class ScoreRing:
    """Weighted scores of core rows that are not final yet, one window deep.

    Args:
        plan: The plan.
        core: Box of the tile's core.
        outputs: Score channels.
        activation: What turns raw outputs into scores.
        device: Where the scores are kept.
    """

    def __init__(
        self,
        plan: TilePlan,
        core: Box,
        outputs: int,
        activation: Activation,
        device: torch.device,
    ) -> None:
        self._plan, self._core, self._activation = plan, core, activation
        self._depth = plan.window[0]
        shape = (outputs, self._depth, *core.shape[1:])
        self._scores = torch.zeros(shape, dtype=torch.float32, device=device)
        self._sum = torch.zeros((), device=device)
        on_device = device.type != "cpu"
        row = outputs * prod(plan.window[1:]) * 4
        self._rows = self._depth if on_device else min(max(1, _PIECE // row), self._depth)
        inner = max(1, prod(core.shape[1:]))
        self._buffer = torch.empty((outputs, self._rows, *plan.window[1:]), device=device)
        self._decided = self._depth if on_device else max(1, _DECIDED // inner)

    def add(self, raw: torch.Tensor, where: tuple[int, ...]) -> None:
        """Add the raw output (k, *window) of the window at ``where``, activated and weighted."""
        box, offset = self._kept(where)
        inner = offset.slices[1:]
        first, last = offset.start[0], offset.stop[0]
        weights = self._weights(where, offset)
        for row in range(first - first % self._rows, last, self._rows):
            piece = raw[:, row : row + self._rows]
            self._sum += piece.sum()
            a, b = max(row, first), min(row + self._rows, last)
            scores = activate(piece, self._activation, self._buffer[:, : piece.shape[1]])
            part = scores[(slice(None), slice(a - row, b - row), *inner)]
            self._gather(box, a - first, part.mul_(weights[a - first : b - first]))

    def add_certain(self, channel: int | None, where: tuple[int, ...]) -> None:
        """Add a window that is wholly one channel, its score 1; None: every score is 0."""
        if channel is None:
            return
        box, offset = self._kept(where)
        self._gather(box, 0, self._weights(where, offset)[None], slice(channel, channel + 1))

    def take(self, low: int, high: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield final core rows [low, high) in pieces, and empty them.

        Yields:
            Rows of the request and their scores, (k, rows, *inner), valid until the next piece.

        Raises:
            FloatingPointError: The model gave NaN or infinity.
        """
        if not torch.isfinite(self._sum):
            raise FloatingPointError("the model gave NaN or infinity")
        for rows, part in _pieces(low, high, self._depth):
            for a in range(rows.start, rows.stop, self._decided):
                b = min(a + self._decided, rows.stop)
                piece = self._scores[:, a:b]
                start = part.start + a - rows.start
                yield slice(start, start + b - a), piece
                piece.zero_()

    def _kept(self, where: tuple[int, ...]) -> tuple[Box, Box]:
        """Return the part of the core a window weighs on: in the image, and in the window."""
        plan, core = self._plan, self._core
        kept = [plan.kept[axis][i] for axis, i in enumerate(where)]
        box = Box(tuple(k[0] for k in kept), tuple(k[1] for k in kept)).intersect(core)
        start = tuple(axis[i] for axis, i in zip(plan.starts, where, strict=True))
        return box, box.relative_to(Box.of_shape(plan.window, start))

    def _weights(self, where: tuple[int, ...], offset: Box) -> torch.Tensor:
        weights = torch.ones((), device=self._scores.device)
        for axis, i in enumerate(where):
            taper = self._plan.tapers[axis][i][offset.slices[axis]]
            weights = weights[..., None] * torch.from_numpy(taper).to(weights.device)
        return weights

    def _gather(
        self, box: Box, skip: int, weighted: torch.Tensor, channels: slice = slice(None)
    ) -> None:
        """Add weighted scores (k, rows, *inner) of ``box``, whose first ``skip`` rows they lack."""
        inner = box.relative_to(self._core).slices[1:]
        low = box.start[0] + skip
        for rows, part in _pieces(low, low + weighted.shape[1], self._depth):
            self._scores[(channels, rows, *inner)].add_(weighted[:, part])  # += would copy it back


def best(scores: torch.Tensor, labels: NDArray[Any]) -> NDArray[Any]:
    """Return the label of the best channel, from scores (k, rows, *inner)."""
    return np.take(labels, decide(scores).cpu().numpy())


def _pieces(start: int, stop: int, depth: int) -> list[tuple[slice, slice]]:
    """Return where rows [start, stop) lie in a ring: (ring rows, rows of the request)."""
    pieces = []
    row = start
    while row < stop:
        place = row % depth
        count = min(stop - row, depth - place)
        pieces.append((slice(place, place + count), slice(row - start, row - start + count)))
        row += count
    return pieces
