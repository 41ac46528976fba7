"""Deciding everything before any work: image + model + settings -> Job, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..budget import Budget, check_core, fit_core
from ..config import RunConfig
from ..engine import Stored, machine, stored
from ..io import Roi
from ..models import Model, ModelCard, limits_of
from ..planning import ModelShape, make_plan
from ..tiling import TilePlan
from ._after import settled, stages_of
from ._checks import (
    check_air,
    check_own,
    check_travel,
    check_vectors,
    crowd_warnings,
    plan_warnings,
)
from ._choose import Question, begun, choose, follow
from ._grids import Grids
from ._image import View, open_view
from ._job import Job, Shared
from ._memory import device_budget, run_cost
from ._names import inputs_of, outputs_of, spare_inputs
from ._network import Networks
from ._origin import made_from
from ._own import Own
from ._roi import open_roi
from ._runners import memory_of, threads_of, workers_of
from ._stages import Stages


def prepare(
    config: RunConfig,
    image: Any,
    models: Model | Sequence[str | Path],
    where: str | Path | None,
    shared: Shared | None = None,
    own: Own | None = None,
) -> Job:
    """Decide everything, reading no more than the header, a decimated image and some windows.

    Args:
        config: The settings.
        image: What to segment.
        models: A loaded model, or where it is, or where the members of an ensemble are.
        where: Where unfinished work of this run may lie; its core, runtime, microbatch and threads
            are taken over.
        shared: What other inputs of the same batch have left to take over.
        own: The code of a bundle before and after the network, whose image and model these are.

    Raises:
        ConfigError: Settings, model and image do not fit together.
        BudgetExceeded: It cannot be done within the budget.
    """
    machine.use_few_arenas()
    unfinished = None if where is None else stored(where)
    if unfinished is not None and config.runtime.threads is None:
        threads = unfinished.plan.threads
    else:
        threads = threads_of(config)
    check_travel(config, image)
    networks = Networks(config, models, threads)
    if shared is None or shared.threads != networks.threads:
        shared = Shared.of(networks, 0 if shared is None else shared.held)
    card = shared.model.card
    config = settled(config, card)
    check_vectors(config, card.dims)
    check_air(config, card)
    check_own(config, own is not None)
    limits_of(card, config.output.thresholds)
    with ExitStack() as on_error:
        view = open_view(config, image, card)
        on_error.callback(view.source.close)
        roi = None if config.input.roi is None else open_roi(config.input.roi, view.grids)
        if roi is not None:
            on_error.callback(roi.close)
        read = view.source if own is None else own.source
        spare_inputs(outputs_of(config), inputs_of(config, read, roi))
        stages = stages_of(config, card, view.grids)
        job = _decide(config, view, roi, networks, shared, (unfinished, own, stages))
        on_error.pop_all()
    return job


def _decide(
    config: RunConfig,
    view: View,
    roi: Roi | None,
    networks: Networks,
    shared: Shared,
    given: tuple[Stored | None, Own | None, Stages | None],
) -> Job:
    """Decide how to segment an open image."""
    first, (unfinished, own, stages) = shared.model, given
    plan = draft_plan(config, view.grids, first.card, networks.threads)
    former = None if unfinished is None else unfinished.plan
    before = None if former is None else begun(former)
    count = config.runtime.microbatch
    room = memory_of(config)
    question = Question(networks, first, plan, count, view, before, room)
    chosen = choose(question) if shared.chosen is None else follow(question, shared.chosen)
    many = partial(fit_core, least=workers_of(config))
    plan, fit = chosen.plan, many if config.tiling.core is None else check_core
    if former is not None and config.tiling.core is None and _alike(former, plan):
        plan, fit = replace(plan, core=former.core), check_core
    budget = Budget(room, device_budget(config, chosen.footprint))
    cost = run_cost(config, view.grids, first, chosen.footprint, roi)
    cost = cost if own is None else own.cost(cost)
    if stages is not None:
        cost = replace(cost, after=cost.after + stages.planned)
    plan = fit(plan, replace(cost, fixed=cost.fixed + shared.held), budget)
    return Job(
        config=config,
        model=chosen.model,
        grids=view.grids,
        plan=plan,
        cost=cost,
        budget=budget,
        roi=roi,
        choice=chosen.choice,
        overview=view.overview,
        warnings=(
            *plan_warnings(view.grids, plan, first.card, config.model),
            *crowd_warnings(plan, config.runtime),
            *(() if own is None else (own.warning,)),
        ),
        footprint=chosen.footprint,
        made_from=made_from(config, first.card, view.grids.image, roi),
        own=own,
        stages=stages,
    )


def _alike(former: TilePlan, plan: TilePlan) -> bool:
    return (former.grid, former.target) == (plan.grid, plan.target)


def draft_plan(config: RunConfig, grids: Grids, card: ModelCard, threads: int) -> TilePlan:
    """Return the plan as far as the image and the card decide it."""
    margin, local = max(card.margin, card.rim), card.locality == "local"
    shape = ModelShape(card.window, card.multiple, card.any_size, margin, local, card.rim)
    wishes = config.tiling.over(card.tiling)
    return make_plan(grids.source.grid, wishes, shape, 1, threads, grids.target)
