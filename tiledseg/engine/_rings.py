"""The ring of a sweep's input: the latest rows, on the model's device; row r at ``r % depth``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..tiling import Tile, TilePlan


class Strip(NamedTuple):
    """Normalised rows of a tile's read box.

    Args:
        start: First row.
        values: (c, rows, *inner), float32, on the model's device.
        wanted: Where the result is wanted: measured, and inside the roi; (rows, *inner).
        busy: Where there is something to look at: wanted, and not air; (rows, *inner).
        asked: Where the result lies on another grid: the first of its rows that these have a part
            in, and where it is wanted there, (rows, *inner of the core).
    """

    start: int
    values: torch.Tensor
    wanted: NDArray[np.bool_]
    busy: NDArray[np.bool_]
    asked: tuple[int, NDArray[np.bool_]] | None = None


class InputRing:
    """The latest input rows of a tile.

    Args:
        plan: The plan.
        tile: The tile.
        channels: Channels of the model.
        strip_depth: Most rows in one strip.
        device: Where the samples are kept.
        ask: Told of what strips ask for on the grid of the result, where that is another.
    """

    def __init__(
        self,
        plan: TilePlan,
        tile: Tile,
        channels: int,
        strip_depth: int,
        device: torch.device,
        ask: Callable[[int, NDArray[np.bool_]], None] | None = None,
    ) -> None:
        self._tile, self._ask = tile, ask
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
            for rows, part in pieces(strip.start, end, self._depth):
                self._values[:, rows] = strip.values[:, part]
                self._wanted[rows] = strip.wanted[part]
                self._busy[rows] = strip.busy[part]
            if self._ask is not None and strip.asked is not None:
                self._ask(*strip.asked)
            self._loaded = end

    def copy(self, box: Box, out: torch.Tensor) -> None:
        """Copy the samples of ``box`` into ``out``, (c, *box.shape)."""
        inner = box.relative_to(self._tile.read).slices[1:]
        for rows, part in pieces(box.start[0], box.stop[0], self._depth):
            out[:, part] = self._values[(slice(None), rows, *inner)]

    def any_busy(self, box: Box) -> bool:
        """Whether there is something to look at in ``box``."""
        return self._any(self._busy, box)

    def any_wanted(self, box: Box) -> bool:
        """Whether a result is wanted somewhere in ``box``."""
        return self._any(self._wanted, box)

    def _any(self, mask: NDArray[np.bool_], box: Box) -> bool:
        inner = box.relative_to(self._tile.read).slices[1:]
        parts = pieces(box.start[0], box.stop[0], self._depth)
        return any(bool(mask[(rows, *inner)].any()) for rows, _ in parts)

    def core_wanted(self, low: int, high: int) -> NDArray[np.bool_]:
        """Return where a result is wanted in core rows [low, high), a copy."""
        inner = self._tile.core.relative_to(self._tile.read).slices[1:]
        wanted = np.empty((high - low, *self._tile.core.shape[1:]), dtype=np.bool_)
        for rows, part in pieces(low, high, self._depth):
            wanted[part] = self._wanted[(rows, *inner)]
        return wanted


def pieces(start: int, stop: int, depth: int) -> list[tuple[slice, slice]]:
    """Return where rows [start, stop) lie in a ring: (ring rows, rows of the request)."""
    found = []
    row = start
    while row < stop:
        place = row % depth
        count = min(stop - row, depth - place)
        found.append((slice(place, place + count), slice(row - start, row - start + count)))
        row += count
    return found
