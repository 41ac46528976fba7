"""Windows -> accumulator -> class map: one tile's rolling sweep along axis 0.

Windows are visited in lattice order. Rows of input arrive in a ring just deep enough for a row of
windows; blended scores gather in a ring one window deep and leave as class map rows as soon as no
later window weighs on them. Memory does not depend on the tile's extent along axis 0.

Bits: a sample's value must depend on the lattice alone. So a window is always a whole sample of a
full microbatch, its activation is taken by itself, products and sums are separate operations (a
fused multiply-add would make the bits depend on where a vector loop ends), and windows are added
in lattice order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..errors import ConfigError
from ..models import Model
from ..tiling import Tile, TilePlan

#: Rows decided at a time, to keep the arg max's scratch space small.
_DECIDE_ROWS = 64


class Strip(NamedTuple):
    """Normalised rows of a tile's read box: first row, (c, rows, *inner) and (rows, *inner)."""

    start: int
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]


class Slab(NamedTuple):
    """Finished rows of a tile's core: their box, labels, and scores where asked for."""

    box: Box
    labels: NDArray[Any]
    scores: NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class ScoreCoding:
    """How scores are stored: value = stored * scale; `nodata` where nothing was measured."""

    dtype: np.dtype[Any]
    scale: float | None
    nodata: float

    def encode(self, scores: torch.Tensor) -> NDArray[Any]:
        """Return scores (k, rows, *inner) as stored values."""
        if self.scale is None:
            return scores.cpu().numpy().astype(self.dtype)
        stored = torch.clamp(torch.round(scores / self.scale), 0, round(1 / self.scale))
        return stored.cpu().numpy().astype(self.dtype)


class _Row(NamedTuple):
    """Rows [start, stop) that are final once a row of windows is accumulated, and their mask."""

    start: int
    stop: int
    valid: NDArray[np.bool_]


class Sweep:
    """One tile's sweep; call `run` once.

    Args:
        model: The network.
        plan: The plan the tile belongs to.
        tile: The tile.
        labels: Label of every output channel; a single output chooses between two labels.
        nodata: Label of samples that were not measured.
        coding: How to store scores, or None to drop them.
    """

    def __init__(
        self,
        model: Model,
        plan: TilePlan,
        tile: Tile,
        labels: NDArray[Any],
        nodata: int,
        coding: ScoreCoding | None,
    ) -> None:
        self.model, self.plan, self.tile = model, plan, tile
        self.labels, self.nodata, self.coding = labels, nodata, coding
        self.evaluated = self.skipped = 0
        self._outputs = model.card.outputs
        shape = (self._outputs, plan.window[0], *tile.core.shape[1:])
        self._scores = torch.zeros(shape, dtype=torch.float32, device=model.device)
        self._rows: deque[_Row] = deque()
        self._batch: list[tuple[tuple[int, ...], int, torch.Tensor]] = []
        self._row = 0

    def run(
        self, strips: Iterator[Strip], depth: int, on_windows: Callable[[int], None]
    ) -> Iterator[Slab]:
        """Yield finished slabs in ascending order.

        Args:
            strips: The tile's read box from its first row on, without gaps.
            depth: Most rows in one strip.
            on_windows: Told how many windows were finished since the last call.
        """
        torch.set_num_threads(self.plan.threads)  # holds for the thread that computes this tile
        plan, tile = self.plan, self.tile
        spans = plan.windows(tile.core)
        inputs = _InputRing(plan, tile, self.model.card.channels, depth)
        for row, place in enumerate(spans[0]):
            if not self._batch:  # rows without a window to wait for
                yield from self._emit_before(row)
            start = plan.starts[0][place]
            inputs.fill(strips, start, start + plan.window[0])
            self._rows.append(self._final_rows(row, spans[0], inputs))
            for rest in product(*spans[1:]):
                where = (place, *rest)
                box = self._box(where)
                if not inputs.any_valid(box):
                    self.skipped += 1
                    on_windows(1)
                    continue
                self._batch.append((where, row, inputs.window(box)))
                if len(self._batch) == plan.microbatch:
                    yield from self._evaluate(on_windows)
        yield from self._evaluate(on_windows)
        while self._rows:
            yield self._emit()

    def _box(self, where: tuple[int, ...]) -> Box:
        start = tuple(axis[i] for axis, i in zip(self.plan.starts, where, strict=True))
        return Box.of_shape(self.plan.window, start)

    def _final_rows(self, row: int, span: range, inputs: _InputRing) -> _Row:
        """Return the core rows that no window row after ``row`` weighs on, and are not yet out."""
        core, starts = self.tile.core, self.plan.starts[0]
        first = starts[span[row]] if row else core.start[0]
        last = starts[span[row + 1]] if row + 1 < len(span) else core.stop[0]
        low = max(first, core.start[0])
        high = max(low, min(last, core.stop[0]))
        return _Row(low, high, inputs.core_valid(low, high))

    # ----------------------------------------------------------------- model and blend

    def _evaluate(self, on_windows: Callable[[int], None]) -> Iterator[Slab]:
        """Run the model on the gathered windows and blend the result."""
        if not self._batch:
            return
        waiting, self._batch = self._batch, []
        gathered = [window for _, _, window in waiting]
        gathered += [gathered[-1]] * (self.plan.microbatch - len(gathered))
        with torch.inference_mode():
            raw = self.model(torch.stack(gathered).to(self.model.device))
        if not torch.isfinite(raw).all():
            raise FloatingPointError("the model gave NaN or infinity")
        for sample, (where, row, _) in zip(raw, waiting, strict=False):
            yield from self._emit_before(row)
            self._blend(_activate(sample, self.model.card.activation), where)
        self.evaluated += len(waiting)
        on_windows(len(waiting))

    def _blend(self, scores: torch.Tensor, where: tuple[int, ...]) -> None:
        """Add one window's scores (k, *window), weighted, where they lie in the core."""
        plan, core = self.plan, self.tile.core
        low, high, weights = [], [], torch.ones((), device=scores.device)
        for axis, i in enumerate(where):
            a = max(plan.kept[axis][i][0], core.start[axis])
            b = min(plan.kept[axis][i][1], core.stop[axis])
            start = plan.starts[axis][i]
            taper = torch.from_numpy(plan.tapers[axis][i][a - start : b - start])
            weights = weights[..., None] * taper.to(scores.device)
            low.append(a)
            high.append(b)
        box = Box(tuple(low), tuple(high))
        offset = box.relative_to(self._box(where)).slices
        weighted = scores[(slice(None), *offset)] * weights
        inner = box.relative_to(core).slices[1:]
        for rows, part in _ring_pieces(low[0], high[0], plan.window[0]):
            self._scores[(slice(None), rows, *inner)] += weighted[:, part]

    # ----------------------------------------------------------------- rows out

    def _emit_before(self, row: int) -> Iterator[Slab]:
        """Yield what no window from ``row`` on weighs on."""
        while self._row < row:
            self._row += 1
            yield self._emit()

    def _emit(self) -> Slab:
        """Return the next final rows and empty their part of the ring."""
        row = self._rows.popleft()
        core, k = self.tile.core, self._outputs
        box = core.along(0, row.start, row.stop)
        labels = np.empty(box.shape, self.labels.dtype)
        scores = None
        if self.coding is not None:
            scores = np.empty((k, *box.shape), self.coding.dtype)
        for rows, part in _ring_pieces(row.start, row.stop, self.plan.window[0]):
            ring = self._scores[:, rows]
            for a in range(0, ring.shape[1], _DECIDE_ROWS):
                some = slice(part.start + a, min(part.start + a + _DECIDE_ROWS, part.stop))
                piece = ring[:, a : a + _DECIDE_ROWS]
                labels[some] = self.labels[decide(piece).cpu().numpy()]
                if self.coding is not None and scores is not None:
                    scores[:, some] = self.coding.encode(piece)
            ring.zero_()
        labels[~row.valid] = self.nodata
        if scores is not None and self.coding is not None:
            scores[:, ~row.valid] = self.coding.nodata
        return Slab(box, labels, scores)


def warm_up(model: Model, plan: TilePlan) -> None:
    """Run the model twice on zeros, so that it has allocated what it will ever hold."""
    torch.set_num_threads(plan.threads)
    shape = (plan.microbatch, len(model.card.channels), *plan.window)
    with torch.inference_mode():
        for _ in range(2):
            raw = model(torch.zeros(shape, device=model.device))
    found, wanted = tuple(raw.shape), (plan.microbatch, model.card.outputs, *plan.window)
    if found != wanted:
        raise ConfigError(
            f"model {model.card.name!r} gave {found} for an input of {shape}, expected {wanted}: "
            "its card does not fit its weights"
        )


class _InputRing:
    """The latest input rows of a tile, at ``row % depth``."""

    def __init__(
        self, plan: TilePlan, tile: Tile, channels: tuple[str, ...], strip_depth: int
    ) -> None:
        self._plan, self._tile = plan, tile
        self._depth = plan.window[0] + strip_depth
        inner = tile.read.shape[1:]
        self._values = torch.empty((len(channels), self._depth, *inner), dtype=torch.float32)
        self._valid = np.zeros((self._depth, *inner), dtype=np.bool_)
        self._loaded = tile.read.start[0]

    def fill(self, strips: Iterator[Strip], first: int, stop: int) -> None:
        """Take strips until rows [first, stop) are there."""
        while self._loaded < stop:
            strip = next(strips)
            end = strip.start + strip.values.shape[1]
            for rows, part in _ring_pieces(strip.start, end, self._depth):
                self._values[:, rows] = torch.from_numpy(strip.values[:, part])
                self._valid[rows] = strip.valid[part]
            self._loaded = end

    def window(self, box: Box) -> torch.Tensor:
        """Return a copy of the samples of ``box``, (c, *box.shape)."""
        inner = box.relative_to(self._tile.read).slices[1:]
        pieces = [
            self._values[(slice(None), rows, *inner)]
            for rows, _ in _ring_pieces(box.start[0], box.stop[0], self._depth)
        ]
        return torch.cat(pieces, dim=1)

    def any_valid(self, box: Box) -> bool:
        """Whether a sample of ``box`` was measured."""
        inner = box.relative_to(self._tile.read).slices[1:]
        pieces = _ring_pieces(box.start[0], box.stop[0], self._depth)
        return any(bool(self._valid[(rows, *inner)].any()) for rows, _ in pieces)

    def core_valid(self, low: int, high: int) -> NDArray[np.bool_]:
        """Return a copy of the mask of core rows [low, high)."""
        inner = self._tile.core.relative_to(self._tile.read).slices[1:]
        valid = np.empty((high - low, *self._tile.core.shape[1:]), dtype=np.bool_)
        for rows, part in _ring_pieces(low, high, self._depth):
            valid[part] = self._valid[(rows, *inner)]
        return valid


def decide(scores: torch.Tensor) -> torch.Tensor:
    """Return the best channel of scores (k, ...) as uint8 or int16 indices; ties: the first.

    A single channel gives 1 where it exceeds 0.5. Compare and select, because `torch.argmax`
    promises nothing about ties.
    """
    if len(scores) == 1:
        return (scores[0] > 0.5).to(torch.uint8)
    best = scores[0].clone()
    kind = torch.uint8 if len(scores) < 256 else torch.int16
    index = torch.zeros(best.shape, dtype=kind, device=scores.device)
    for channel in range(1, len(scores)):
        better = scores[channel] > best
        index.masked_fill_(better, channel)
        torch.maximum(best, scores[channel], out=best)
    return index


def _activate(raw: torch.Tensor, activation: str) -> torch.Tensor:
    """Return scores of one window, (k, *window)."""
    if activation == "softmax":
        return torch.softmax(raw, dim=0)
    return torch.sigmoid(raw) if activation == "sigmoid" else raw


def _ring_pieces(start: int, stop: int, depth: int) -> list[tuple[slice, slice]]:
    """Return where rows [start, stop) lie in a ring: (ring rows, rows of the request)."""
    pieces = []
    row = start
    while row < stop:
        place = row % depth
        count = min(stop - row, depth - place)
        pieces.append((slice(place, place + count), slice(row - start, row - start + count)))
        row += count
    return pieces
