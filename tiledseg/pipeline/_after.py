"""What is done to the class map of a run before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..budget import chunk_shape
from ..components import NODATA
from ..config import RunConfig
from ..engine import OnEvent, Postprocessing, WorkStore, machine
from ..io import FramedSource, HeldMap, OrientedSource, Sink, Source, centred_picks
from ..models import ModelCard
from ..steps import plain_steps, read_steps
from ..vector import row_measures
from ._grids import Grids
from ._job import Job
from ._seen import Counted, Picked
from ._stages import Cleaning, Stages


class Cleaned(NamedTuple):
    """A class map that was changed and written.

    Args:
        samples: Per class, by ascending label.
        amounts: Their area or volume.
        picks: The map at the samples of the run's overview.
        changed: Samples whose class changed.
    """

    samples: NDArray[np.int64]
    amounts: NDArray[np.float64]
    picks: NDArray[np.integer]
    changed: int


def settled(config: RunConfig, card: ModelCard) -> RunConfig:
    """Return a config with what the card wishes to be done, where the user does not say."""
    output = config.output
    if output.postprocess is None and card.postprocess:
        output = replace(output, postprocess=tuple(plain_steps(card.postprocess)))
    if output.thresholds is None and card.thresholds:
        output = replace(output, thresholds=card.thresholds)
    return config.model_copy(update={"output": output})


def stages_of(config: RunConfig, card: ModelCard, grids: Grids) -> Stages | None:
    """Return what is done to the map of a run, or None for nothing.

    Raises:
        ConfigError: A step does not fit the classes, or where the result lies.
    """
    steps = read_steps(config.output.postprocess or (), "output.postprocess")
    if not steps:
        return None
    stages = Stages.of(steps, grids.grid, f"the class map of {card.name!r}")
    stages.facts(card.schema)
    return stages


def clean(
    job: Job,
    stages: Stages,
    store: WorkStore,
    sink: Sink,
    on_event: OnEvent,
    go_on: Callable[[], None] | None,
) -> Cleaned:
    """Change the class map of a work store, which stays as it is, on its way into a sink.

    Args:
        job: The job.
        stages: What is done.
        store: Its store.
        sink: Prepared; takes the map as it is written.
        on_event: Told the share that is done.
        go_on: Called for every part; what it raises ends this. Where it is given there are other
            inputs beside this one.

    Raises:
        BudgetExceeded: The map has more components than there is room for.
    """
    schema, room = job.card.schema, stages.planned
    if go_on is None:
        room = max(room, job.budget.host - machine.resident())

    def tell(share: float) -> None:
        if go_on is not None:
            go_on()
        on_event(Postprocessing(share))

    cleaning = Cleaning(stages, stages.facts(schema), store.folder, room, tell)
    ids = np.array([c.id for c in schema.unique])
    counted, picked = Counted(ids, row_measures(job.grid)[0]), Picked(_wanted(job))
    for box, labels in cleaning.blocks(raw_map(job, store)):
        values = np.where(labels == NODATA, schema.nodata, labels).astype(schema.dtype)
        sink.write(box, values[np.newaxis])
        counted.add(box, labels)
        picked.add(box, values)
    picks = picked.labels if job.axes is None else job.axes.apply(picked.labels)
    return Cleaned(counted.samples, counted.amounts, picks, cleaning.changed)


def raw_map(job: Job, store: WorkStore) -> Source:
    """Return the class map of a work store as it would be written."""
    schema, plan, frame = job.card.schema, job.plan, job.grids.frame
    whole = job.grid if job.axes is None else job.grid.turn(job.axes)
    source: Source = HeldMap(
        store.labels,
        plan.output if frame is None else whole.crop(frame.box),
        schema.dtype,
        schema.nodata,
        chunk_shape(plan),
        f"the class map of {job.source.uri}",
    )
    if frame is not None and schema.background is not None:
        source = FramedSource(source, whole, frame.box, schema.background)
    return source if job.axes is None else OrientedSource(source, job.axes.inverse)


def _wanted(job: Job) -> list[NDArray[np.int64]]:
    """Return the indices, along the axes as written, of the samples that the overview shows."""
    limit, frame = max(job.overview[1].shape), job.grids.frame
    picks = [centred_picks(n, limit) for n in job.plan.output.shape]
    if frame is not None:
        picks = [at + first for at, first in zip(picks, frame.box.start, strict=True)]
    if job.axes is None:
        return picks
    shape, turned = job.grid.shape, list(picks)
    for at, axis, flip in zip(picks, job.axes.order, job.axes.flips, strict=True):
        turned[axis] = (shape[axis] - 1 - at)[::-1] if flip else at
    return turned
