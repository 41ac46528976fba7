"""The ring of scores on a GPU: whole-window steps, nothing copied back but what is final."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..models import Activation, activate, admit, decide, paint
from ..tiling import TilePlan
from ._score_ring import ScoreRing


class DeviceRing(ScoreRing):
    """Scores on a device of their own, in torch's steps."""

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
        self.gather_weights(box, where, offset)

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
        if self.admits:
            return admit(scores, self.limits)
        painted = self.painted or self.reached is not None
        return paint(scores, self.limits) if painted else decide(scores)
