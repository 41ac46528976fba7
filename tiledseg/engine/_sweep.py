"""Windows -> accumulator -> class map: one tile's rolling sweep along axis 0.

Windows are visited in lattice order. Rows of input arrive in a ring just deep enough for a row of
windows; blended scores gather in a ring one window deep and leave as class map rows as soon as no
later window weighs on them. Memory does not depend on the tile's extent along axis 0.

Bits: a sample's value must depend on the lattice alone. So a window is always a whole sample of a
full microbatch, and windows are added in lattice order, skipped ones too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..models import Model, activate
from ..taper import Taper
from ..tiling import Tile, TilePlan
from ._open_ring import open_score_ring
from ._result_rows import open_result_rows
from ._rings import InputRing, Strip
from ._score_ring import Final

#: Rows of windows that may wait for a microbatch to fill up, where most windows are skipped.
_ROWS_KEPT = 8
#: Samples whose scores are encoded at a time.
_ENCODED = 1 << 18


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

    def encode(self, scores: torch.Tensor, out: NDArray[Any]) -> None:
        """Store scores (k, rows, *inner) in ``out``, a few rows at a time."""
        step = max(1, _ENCODED // max(1, prod(scores.shape[2:])))
        for row in range(0, scores.shape[1], step):
            some = scores[:, row : row + step]
            if self.scale is not None:
                some = (some / self.scale).round_().clamp_(0, round(1 / self.scale))
            out[:, row : row + step] = some.cpu().numpy()


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of scores.

    Args:
        labels: Label of every output channel; a single output chooses between two labels.
        nodata: Label of samples that were not measured, or not wanted.
        background: Index into ``labels`` of what skipped air is.
        coding: How to store scores, or None to drop them.
        reached: What the score of every output channel must reach, -inf: anything; or None.
        rest: Label of what no channel reaches, where the best one is chosen.
    """

    labels: NDArray[Any]
    nodata: int
    background: int
    coding: ScoreCoding | None
    reached: NDArray[np.float32] | None = None
    rest: int = 0

    @property
    def choices(self) -> NDArray[Any]:
        """Label of every choice: of every channel, and of none of them."""
        if self.reached is None or len(self.reached) < len(self.labels):
            return self.labels
        return np.append(self.labels, self.labels.dtype.type(self.rest))


class _Row(NamedTuple):
    """Rows [start, stop) that are final once a row of windows is added.

    Args:
        start: First row, on the model's grid.
        stop: End row.
        wanted: Where a result is wanted in them; empty where the result has other rows.
    """

    start: int
    stop: int
    wanted: NDArray[np.bool_]


class _Waiting(NamedTuple):
    """A window whose turn has not come: where it is, its row, and its place in the microbatch."""

    where: tuple[int, ...]
    row: int
    place: int | None


class Sweep:
    """One tile's sweep; call `run` once.

    Args:
        model: The network.
        plan: The plan the tile belongs to.
        tile: The tile.
        decision: What becomes of scores.
    """

    def __init__(self, model: Model, plan: TilePlan, tile: Tile, decision: Decision) -> None:
        self.model, self.plan, self.tile, self.decision = model, plan, tile, decision
        self.evaluated = self.skipped = 0
        card = model.card
        self._outputs = card.outputs
        self._scored = plan.scored(tile.core)
        self._scores = open_score_ring(plan, self._scored, model, decision.reached)
        self._result = open_result_rows(plan, tile.core, card.outputs, model.device)
        shape = (plan.microbatch, len(card.channels), *plan.window)
        self._batch = torch.zeros(shape, device=model.device)
        self._gathered = 0
        self._waiting: list[_Waiting] = []
        self._rows: deque[_Row] = deque()
        self._row = 0
        self._told = 0

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
        with self._scores:
            yield from self._swept(strips, depth, on_windows)

    def _swept(
        self, strips: Iterator[Strip], depth: int, on_windows: Callable[[int], None]
    ) -> Iterator[Slab]:
        plan, tile = self.plan, self.tile
        spans = plan.windows(tile.core)
        channels = len(self.model.card.channels)
        ask = None if self._result is None else self._result.ask
        inputs = InputRing(plan, tile, channels, depth, self.model.device, ask)
        for row, place in enumerate(spans[0]):
            if not self._waiting:
                yield from self._emit_before(row)
            start = plan.starts[0][place]
            inputs.fill(strips, start + plan.window[0])
            self._rows.append(self._final_rows(row, spans[0], inputs))
            for rest in product(*spans[1:]):
                self._take(inputs, (place, *rest), row)
                if self._gathered == plan.microbatch:
                    yield from self._evaluate(on_windows)
            if not self._gathered or len(self._rows) > _ROWS_KEPT:
                yield from self._evaluate(on_windows)
        yield from self._evaluate(on_windows)
        while self._rows:
            yield self._emit()

    def _take(self, inputs: InputRing, where: tuple[int, ...], row: int) -> None:
        """Gather a window, or note that there is nothing to look at."""
        start = tuple(axis[i] for axis, i in zip(self.plan.starts, where, strict=True))
        box = Box.of_shape(self.plan.window, start)
        weighed_on, _ = self._scores.kept(where)
        if not inputs.any_wanted(weighed_on):
            self.skipped += 1
        elif inputs.any_busy(box):
            inputs.copy(box, self._batch[self._gathered])
            self._waiting.append(_Waiting(where, row, self._gathered))
            self._gathered += 1
        else:  # air: seen, and surely background
            self.skipped += 1
            self._waiting.append(_Waiting(where, row, None))

    def _final_rows(self, row: int, span: range, inputs: InputRing) -> _Row:
        """Return the scored rows that no window row after ``row`` weighs on, and are not out."""
        core, starts = self._scored, self.plan.starts[0]
        first = starts[span[row]] if row else core.start[0]
        last = starts[span[row + 1]] if row + 1 < len(span) else core.stop[0]
        low = max(first, core.start[0])
        high = max(low, min(last, core.stop[0]))
        if self._result is not None:
            return _Row(low, high, np.empty(0, np.bool_))
        return _Row(low, high, inputs.core_wanted(low, high))

    def _evaluate(self, on_windows: Callable[[int], None]) -> Iterator[Slab]:
        """Run the model on the gathered windows and blend all that wait, in lattice order."""
        waiting, self._waiting = self._waiting, []
        raw = None
        if self._gathered:
            self._batch[self._gathered :] = self._batch[self._gathered - 1]  # always a full call
            with torch.inference_mode():
                raw = self._mean(self.model(self._batch))
        for window in waiting:
            yield from self._emit_before(window.row)
            with torch.inference_mode():
                if raw is not None and window.place is not None:
                    self._scores.add(raw[window.place], window.where)
                else:
                    self._scores.add_certain(self._background, window.where)
        self.evaluated += self._gathered
        self._gathered = 0
        done = self.evaluated + self.skipped
        if done > self._told:
            on_windows(done - self._told)
            self._told = done

    def _mean(self, raw: torch.Tensor) -> torch.Tensor:
        """Average the outputs of several networks, where that is not done after the blend."""
        networks = self.model.stacked
        if networks == 1 or self.plan.taper is Taper.NNUNET:
            return raw
        return torch.stack(raw.chunk(networks, 1)).mean(0)

    @property
    def _background(self) -> int | None:
        """The output channel that is 1 where a sample is surely background, or None."""
        if self.model.card.painted:  # nothing is painted
            return None
        if self._outputs == 1:  # its score stands for the second label
            return 0 if self.decision.background == 1 else None
        return self.decision.background

    # ----------------------------------------------------------------- rows out

    def _emit_before(self, row: int) -> Iterator[Slab]:
        """Yield what no window from ``row`` on weighs on."""
        while self._row < row:
            self._row += 1
            yield self._emit()

    def _emit(self) -> Slab:
        """Return the rows of the result that the next final rows complete; empty their ring."""
        box, wanted, finals = self._finals(self._rows.popleft())
        coding = self.decision.coding
        found = np.empty(box.shape, self.decision.labels.dtype)
        scores = None if coding is None else np.empty((self._outputs, *box.shape), coding.dtype)
        for final in finals:
            found[final.rows] = final.labels
            if coding is not None and scores is not None:
                pending, values = self._scores.pending, final.scores
                values = values if pending == "none" else activate(values, pending)
                coding.encode(values, scores[:, final.rows])
        found[~wanted] = self.decision.nodata
        if coding is not None and scores is not None:
            scores[:, ~wanted] = coding.nodata
        return Slab(box, found, scores)

    def _finals(self, row: _Row) -> tuple[Box, NDArray[np.bool_], Iterator[Final]]:
        """Return a box of the result, where it is wanted, and its scores and labels."""
        labels = self.decision.choices
        if self._result is not None:
            finals = self._result.finals(self._scores, (row.start, row.stop), labels)
            return *self._result.ready(row.stop), finals
        box = self.tile.core.along(0, row.start, row.stop)
        return box, row.wanted, self._scores.take(row.start, row.stop, labels)
