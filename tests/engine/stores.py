"""Work stores, and the tasks that fill them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tiledseg.engine import Decision, ScoreCoding, TileTask, WorkStore
from tiledseg.io import Source
from tiledseg.models import Model
from tiledseg.tiling import TilePlan


def begun(
    folder: Path,
    plan: TilePlan,
    source: Source,
    model: Model,
    coding: ScoreCoding | None = None,
    **more: Any,
) -> tuple[WorkStore, TileTask]:
    """Return a new store and what computes its tiles; ``coding`` keeps scores, too."""
    schema = model.card.schema
    scores = None if coding is None else (coding, model.card.outputs)
    store = WorkStore.create(folder, plan, {}, {}, (schema.dtype, schema.nodata), scores)
    decision = Decision(schema.ids, schema.nodata, 0, coding)
    normalization, sizes = model.card.normalization, np.ones(plan.output.shape[0])
    return store, TileTask(plan, source, normalization, model, decision, store, sizes, **more)
