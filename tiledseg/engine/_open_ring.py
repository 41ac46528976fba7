"""Which ring of scores a sweep needs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..models import Model
from ..taper import Taper
from ..tiling import TilePlan
from ._device_ring import DeviceRing
from ._half_ring import open_half_ring
from ._host_ring import HostRing
from ._score_ring import ScoreRing


def open_score_ring(
    plan: TilePlan, core: Box, model: Model, reached: NDArray[np.float32] | None = None
) -> ScoreRing:
    """Return a ring for a model's scores, on its device.

    Args:
        plan: The plan.
        core: Box of the tile's core, on the model's grid.
        model: The network.
        reached: What the score of every channel must reach; see `ScoreRing`.
    """
    ring = _open(plan, core, model)
    ring.reached = reached
    return ring


def _open(plan: TilePlan, core: Box, model: Model) -> ScoreRing:
    if plan.taper is Taper.NNUNET:
        return open_half_ring(plan, core, model)
    card = model.card
    channels = card.outputs + (plan.weight_map is not None)
    shape = (channels, plan.window[0], *core.shape[1:])
    if model.device.type == "cpu":
        scores = torch.from_numpy(np.zeros(shape, np.float32))  # numpy asks for large pages
        return HostRing(plan, core, scores, card.activation, card.painted)
    scores = torch.zeros(shape, device=model.device)
    return DeviceRing(plan, core, scores, card.activation, card.painted)
