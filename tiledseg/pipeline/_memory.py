"""What a run may hold, and what it costs."""

from __future__ import annotations

from math import prod

import numpy as np

from .. import vector
from ..budget import Cost, parse_bytes
from ..config import RunConfig
from ..engine import Footprint
from ..io import ResampledSource, Roi, StackedSource
from ..models import Model
from ._grids import Grids


def device_budget(config: RunConfig, footprint: Footprint) -> int | None:
    """Return the bytes a GPU may hold; None: the device is the host."""
    asked = config.budget.device_memory
    limit = None if asked is None else parse_bytes(asked)
    if footprint.device_free is None:
        return None
    return limit if limit is not None else footprint.device_free * 9 // 10


def run_cost(
    config: RunConfig, grids: Grids, model: Model, footprint: Footprint, roi: Roi | None
) -> Cost:
    """Return what tiles cost, and what readers, writers and vectors hold besides."""
    card = model.card
    workers = 1 if config.runtime.distributed else config.runtime.workers  # tiles in a process
    labels = card.schema.dtype.itemsize
    source, result = grids.source, grids.shown.grid
    image = source.first if isinstance(source, StackedSource) else source
    samples = prod(result.shape)
    after = 0
    if config.out is None:
        after += samples * labels  # the array that is returned
    scores = 0
    if config.output.scores is not None:
        scores = np.dtype(config.output.score_type).itemsize
    if config.output.polygons is not None:
        after += vector.polygons_need(samples)
    if config.output.surfaces is not None:
        from ..meshes import surfaces_need  # which brings scikit-image

        after += surfaces_need(result.shape)
    return Cost(
        reserved=footprint.reserved,
        workspace=footprint.workspace,
        device_reserved=footprint.device_reserved,
        device_workspace=None if footprint.device_free is None else footprint.device_workspace,
        channels=len(source.channels),
        itemsize=source.dtype.itemsize,
        outputs=card.outputs,
        stacked=model.stacked,
        label_bytes=labels,
        score_bytes=scores,
        workers=workers,
        block_rows=source.blocks[0],
        fixed=source.working_bytes + (0 if roi is None else roi.working_bytes * workers),
        after=after,
        interpolated=image.needs if isinstance(image, ResampledSource) else None,
        shown_bytes=_shown_bytes(grids),
    )


def _shown_bytes(grids: Grids) -> int:
    """Return the bytes per sample that are read to see where a result is wanted."""
    shown = grids.shown
    if grids.target is None:
        return 0
    return 1 + (len(shown.channels) * shown.dtype.itemsize if shown.dtype.kind == "f" else 0)
