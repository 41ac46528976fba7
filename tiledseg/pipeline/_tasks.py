"""What tiles are computed with, in whatever process: a task of the engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..config import RunConfig
from ..engine import Decision, ScoreCoding, TileTask, WorkStore
from ..io import Roi
from ..models import Model, ModelCard, limits_of
from ..vector import row_measures
from ._grids import Grids

#: Score of a step of what is stored; the largest number is left for nodata.
_SCORE_SCALES = {"uint8": 0.004, "uint16": 0.00002}


def tile_task(
    config: RunConfig, store: WorkStore, grids: Grids, model: Model, roi: Roi | None
) -> TileTask:
    """Return what computes the tiles of a work store's plan.

    Args:
        config: The settings.
        store: Where results go; its plan is followed, and how it keeps scores.
        grids: The image on the grids of the run.
        model: The network.
        roi: Where a result is wanted; None: everywhere.
    """
    return TileTask(
        plan=store.plan,
        source=grids.source,
        normalization=grids.lane,
        model=model,
        decision=decision_of(model.card, store.coding, config.output.thresholds),
        store=store,
        sizes=row_measures(store.plan.output)[0],
        roi=roi,
        skip_below=config.input.skip_below,
        shown=grids.shown,
    )


def coding_of(config: RunConfig) -> ScoreCoding | None:
    """Return how scores are stored, or None where none are wanted."""
    if config.output.scores is None:
        return None
    kind = np.dtype(config.output.score_type)
    nodata = float("nan") if kind.kind == "f" else float(np.iinfo(kind).max)
    return ScoreCoding(kind, _SCORE_SCALES.get(config.output.score_type), nodata)


def decision_of(
    card: ModelCard, coding: ScoreCoding | None, thresholds: Mapping[str | int, float] | None
) -> Decision:
    """Return what becomes of scores.

    Args:
        card: Of the model.
        coding: How scores are stored, or None.
        thresholds: By name or id of a class, the score that it must reach.

    Raises:
        ConfigError: A threshold does not fit the model.
    """
    schema = card.schema
    air = 0 if schema.background is None else schema.ids.tolist().index(schema.background)
    rest = schema.nodata if schema.background is None else schema.background
    reached = limits_of(card, thresholds)
    return Decision(schema.ids, schema.nodata, air, coding, reached, rest)
