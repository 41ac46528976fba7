"""Deciding everything before any work: image + model + settings -> Job, or a refusal."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..budget import (
    Budget,
    Cost,
    check_core,
    device_bytes,
    fit_core,
    format_bytes,
    total_bytes,
)
from ..config import RunConfig
from ..engine import Decision, Footprint, ScoreCoding, Stored, machine, stored
from ..errors import PlanChanged
from ..grid import AxisMap, Grid
from ..io import Folder, Roi, Source, open_folder
from ..models import Model, ModelCard, card_to_dict, versions_behind
from ..normalize import Normalization
from ..planning import ModelShape, make_plan
from ..tiling import TilePlan
from ._checks import check_air, check_travel, check_vectors, crowd_warnings, plan_warnings
from ._choose import Choice, Chosen, Question, begun, choose, follow
from ._grids import Grids
from ._image import View, open_view
from ._memory import device_budget, run_cost
from ._names import inputs_of, outputs_of, spare_inputs
from ._network import Networks
from ._origin import made_from
from ._own import RAW, Own
from ._roi import open_roi
from ._runners import memory_of, threads_of, workers_of

_SCORE_SCALES = {"uint8": 0.004, "uint16": 0.00002}

#: Keys of a card that no byte depends on, or whose effect the plan or the identity holds already.
_ELSEWHERE = {
    *("name", "weights", "folds", "sha256", "licence", "provenance", "locality"),
    *("channels", "window", "multiple", "any_size", "margin", "tiling", "mirror", "average"),
    *("normalization", "orientation", "spacing"),
}


@dataclass(frozen=True)
class Shared:
    """What an input of a batch takes over from those before it.

    Args:
        model: The network.
        threads: Threads of its calls.
        chosen: How it is run; None: that is still to be chosen.
        held: Bytes that inputs still in progress hold besides their tiles.
    """

    model: Model
    threads: int
    chosen: Chosen | None = None
    held: int = 0

    @classmethod
    def of(cls, networks: Networks, held: int = 0) -> Shared:
        """Open the model in the first runtime that the settings leave open."""
        return cls(networks.open(networks.candidates[0]), networks.threads, held=held)


@dataclass(frozen=True)
class Job:
    """Everything decided before any work.

    Args:
        config: The config, as given.
        model: The network.
        grids: The image on the grids of the run.
        normalization: Fitted to the image.
        plan: Lattice and tiles.
        cost: What a tile costs.
        budget: Bytes of host and device memory.
        roi: Where a result is wanted, or None: everywhere.
        choice: How the model is run, and why.
        overview: Decimated image, (c, *s), and where it was measured.
        warnings: What the user should know.
        footprint: What calls of the model hold.
        made_from: Digest of image, model and settings.
        own: The code of a bundle before and after the network, or None: there is none.
    """

    config: RunConfig
    model: Model
    grids: Grids
    normalization: Normalization
    plan: TilePlan
    cost: Cost
    budget: Budget
    roi: Roi | None
    choice: Choice
    overview: tuple[NDArray[Any], NDArray[np.bool_]]
    warnings: tuple[str, ...]
    footprint: Footprint
    made_from: str
    own: Own | None = None

    @property
    def shared(self) -> Shared:
        """What the next inputs of a batch may take over."""
        chosen = Chosen(self.model, self.choice, self.plan, self.footprint)
        return Shared(self.model, self.plan.threads, chosen)

    @property
    def source(self) -> Source:
        """The image, in the model's orientation and on its grid."""
        return self.grids.source

    @property
    def axes(self) -> AxisMap | None:
        """From the axes of the written result to the model's, or None where they agree."""
        return self.grids.axes

    @property
    def grid(self) -> Grid:
        """Grid of the result as it is written."""
        return self.grids.grid

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.model.card

    @property
    def coding(self) -> ScoreCoding | None:
        """How scores are stored, or None where none are wanted."""
        return coding_of(self.config) if self.own is None else RAW

    @property
    def decision(self) -> Decision:
        """What becomes of scores."""
        return decision_of(self.card, self.coding)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything besides the plan that the result's bytes depend on, as JSON values."""
        return {
            "input": self.source.fingerprint(),
            "nodata": repr(self.source.nodata),
            "samples": [zlib.crc32(a.tobytes()) for a in self.overview],
            "channels": list(self.source.channels),
            "model": self.card.sha256,
            **{k: v for k, v in card_to_dict(self.card).items() if k not in _ELSEWHERE},
            "normalization": self.normalization.to_list(),
            "frame": None if self.grids.frame is None else self.grids.frame.to_dict(),
            "device": str(self.model.device),
            "libraries": versions_behind(self.model.runtime, self.card),
            "scores": self.config.output.score_type if self.config.output.scores else None,
            "roi": None if self.roi is None else self.roi.fingerprint(),
            "skip_below": self.config.input.skip_below,
            "own_code": None if self.own is None else True,
        }

    def close(self) -> None:
        """Give back the image, the roi and the image as stored."""
        self.source.close()
        for held in (self.roi, self.own):
            if held is not None:
                held.close()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def describe(self) -> dict[str, Any]:
        """Return the figures a person wants before a long run."""
        figures = self.plan.describe()
        if self.grids.told is not None:
            figures["resampled"] = self.grids.told
        figures["memory"] = format_bytes(total_bytes(self.plan, self.cost))
        figures["budget"] = format_bytes(self.budget.host)
        if self.budget.device is not None:
            figures["device_memory"] = format_bytes(device_bytes(self.plan, self.cost))
            figures["device_budget"] = format_bytes(self.budget.device)
        return {**figures, **self.choice.describe()}


def coding_of(config: RunConfig) -> ScoreCoding | None:
    """Return how scores are stored, or None where none are wanted."""
    if config.output.scores is None:
        return None
    kind = np.dtype(config.output.score_type)
    nodata = float("nan") if kind.kind == "f" else float(np.iinfo(kind).max)
    return ScoreCoding(kind, _SCORE_SCALES.get(config.output.score_type), nodata)


def decision_of(card: ModelCard, coding: ScoreCoding | None) -> Decision:
    """Return what becomes of scores."""
    schema = card.schema
    air = 0 if schema.background is None else schema.ids.tolist().index(schema.background)
    return Decision(schema.ids, schema.nodata, air, coding)


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
    check_vectors(config, card.dims)
    check_air(config, card)
    with ExitStack() as on_error:
        view = open_view(config, image, card)
        on_error.callback(view.source.close)
        roi = None if config.input.roi is None else open_roi(config.input.roi, view.grids)
        if roi is not None:
            on_error.callback(roi.close)
        read = view.source if own is None else own.source
        spare_inputs(outputs_of(config), inputs_of(config, read, roi))
        job = _decide(config, view, roi, networks, shared, (unfinished, own))
        on_error.pop_all()
    return job


def _decide(
    config: RunConfig,
    view: View,
    roi: Roi | None,
    networks: Networks,
    shared: Shared,
    given: tuple[Stored | None, Own | None],
) -> Job:
    """Decide how to segment an open image."""
    first, (unfinished, own) = shared.model, given
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
    plan = fit(plan, replace(cost, fixed=cost.fixed + shared.held), budget)
    return Job(
        config=config,
        model=chosen.model,
        grids=view.grids,
        normalization=view.normalization,
        plan=plan,
        cost=cost,
        budget=budget,
        roi=roi,
        choice=chosen.choice,
        overview=view.overview,
        warnings=(
            *plan_warnings(view.grids, plan, first.card),
            *crowd_warnings(plan, config.runtime),
            *(() if own is None else (own.warning,)),
        ),
        footprint=chosen.footprint,
        made_from=made_from(config, first.card, view.grids.image, roi),
        own=own,
    )


def _alike(former: TilePlan, plan: TilePlan) -> bool:
    return (former.grid, former.target) == (plan.grid, plan.target)


def draft_plan(config: RunConfig, grids: Grids, card: ModelCard, threads: int) -> TilePlan:
    """Return the plan as far as the image and the card decide it."""
    margin, local = max(card.margin, card.rim), card.locality == "local"
    shape = ModelShape(card.window, card.multiple, card.any_size, margin, local, card.rim)
    wishes = config.tiling.over(card.tiling)
    return make_plan(grids.source.grid, wishes, shape, 1, threads, grids.target)


def require_same(job: Job, where: str | Path | Folder) -> None:
    """Refuse unfinished work that was made under another plan, input or model.

    Raises:
        PlanChanged: The sentence says what differs.
    """
    found = stored(where)
    if found is None:
        return
    before = json.loads(json.dumps({**found.plan.to_dict(), **found.identity}))
    now = json.loads(json.dumps({**job.plan.to_dict(), **job.identity}))
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        told = "; ".join(f"{k} was {_short(before.get(k))}, is {_short(now[k])}" for k in changed)
        raise PlanChanged(
            f"unfinished work in {open_folder(where).uri} belongs to another run: {told}; "
            "run it with the former settings, or discard it with --fresh"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
