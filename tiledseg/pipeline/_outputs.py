"""What a run leaves behind: sinks for class map and scores, vectors, the report."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import vector
from ..engine import ScoreCoding, Tally, machine
from ..grid import Grid
from ..io import (
    Ledger,
    MemorySink,
    MemorySource,
    OrientedSink,
    Sink,
    SinkSpec,
    Source,
    create_sink,
    open_source,
)
from ..labels import ClassSchema
from ..models import ModelCard
from ..report import ClassMeasure
from ._job import Job
from ._scores import open_scores

#: Threads that compress at most: GDAL holds some 30 MB for each.
_MOST_THREADS = 4


class Written(NamedTuple):
    """A class map that was written.

    Args:
        outputs: The files made of it.
        measures: How much of every class there is.
        class_map: The labels, of an in-memory run; else None.
        schema: The classes.
        grid: Where it lies.
        overview: The image decimated there, (c, *s), and where it was measured.
        picks: The class map at these samples.
    """

    outputs: list[Path]
    measures: tuple[ClassMeasure, ...]
    class_map: NDArray[Any] | None
    schema: ClassSchema
    grid: Grid
    overview: tuple[NDArray[Any], NDArray[np.bool_]]
    picks: NDArray[Any]


def label_sink(job: Job, out: Path | None) -> Sink:
    """Return the unprepared sink of the class map, fed in the model's orientation."""
    schema = job.card.schema
    spec = SinkSpec(job.grid, schema.dtype, ("class",), schema.nodata, schema)
    if job.own is not None:  # whose labels are written in place of these
        return MemorySink(spec)
    if job.stages is not None:  # which see the whole map as it is written
        return _sink(job, out, spec)
    rest = schema.nodata if schema.background is None else schema.background
    return _placed(job, _sink(job, out, spec), np.array([rest], schema.dtype))


def score_sink(job: Job) -> Sink | None:
    """Return the unprepared sink of the scores, or None where none are wanted."""
    coding, path = job.coding, job.config.output.scores
    if coding is None:
        return None
    names = tuple(c.name for c in job.card.schema.classes)[-job.card.outputs :]
    spec = SinkSpec(job.grid, coding.dtype, names, coding.nodata, scale=coding.scale)
    if path is None:
        return MemorySink(spec)
    return _placed(job, _sink(job, Path(path), spec), _certain(job.card, coding))


def _sink(job: Job, path: Path | None, spec: SinkSpec) -> Sink:
    if path is None:
        return MemorySink(spec)
    runtime = job.config.runtime
    threads = job.plan.threads * (1 if runtime.distributed else runtime.workers)
    return create_sink(path, spec, job.config.output.layout, min(threads, _MOST_THREADS))


def _certain(card: ModelCard, coding: ScoreCoding) -> NDArray[Any]:
    """Return the stored scores of what is surely background: 1 there, else 0."""
    scores = np.zeros(card.outputs)
    if card.outputs == len(card.schema) and card.schema.background is not None:
        scores[card.schema.ids.tolist().index(card.schema.background)] = 1
    stored = scores if coding.scale is None else np.round(scores / coding.scale)
    return stored.astype(coding.dtype)


def _placed(job: Job, sink: Sink, rest: NDArray[Any]) -> Sink:
    """Return what takes boxes of the result along the model's axes; ``rest`` lies around it."""
    if job.axes is not None:
        sink = OrientedSink(sink, job.axes)
    frame = job.grids.frame
    return sink if frame is None else frame.sink(sink, rest)


def with_cropped_off(
    job: Job, tally: Tally, sizes: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return samples and amounts per class, what was cropped off counted as background.

    Args:
        job: The job.
        tally: What the tiles add up to.
        sizes: Of a sample in every row; beyond the crop, their mean is taken.
    """
    samples, amounts, frame = tally.samples.copy(), tally.amounts.copy(), job.grids.frame
    schema = job.card.schema
    if frame is not None and schema.background is not None:
        place = [c.id for c in schema.unique].index(schema.background)
        samples[place] += frame.outside
        amounts[place] += frame.outside * float(sizes.mean())
    return samples, amounts


def write_vectors(
    job: Job, labels: Path | NDArray[Any], grid: Grid, schema: ClassSchema
) -> list[Path]:
    """Write the polygons and the surfaces that a run is asked for; return the files made.

    They may take what was planned for them, and more where the budget has it left.

    Args:
        job: The job.
        labels: The class map as it was written, or in memory.
        grid: Where it lies; a file may tell less of it.
        schema: The classes.

    Raises:
        BudgetExceeded: The map has more objects, or more of a surface, than there is room for.
        OutputFailed: A file cannot be written.
    """
    wanted = job.config.output
    if wanted.polygons is None and wanted.surfaces is None:
        return []
    opened = (
        open_source(labels) if isinstance(labels, Path) else MemorySource(labels[np.newaxis], grid)
    )
    made = []
    with opened as source:
        if wanted.polygons is not None:
            made.append(_write_polygons(job, source, Path(wanted.polygons), grid, schema))
        if wanted.surfaces is not None:
            from ..meshes import surfaces_need  # which brings scikit-image
            from ._surfaces import SurfaceStyle, write_surfaces

            style, target = SurfaceStyle(wanted.surface_format), Path(wanted.surfaces)
            limit = max(machine.resident() + surfaces_need(grid.shape), job.budget.host)
            made += write_surfaces(source, schema, target, style, limit=limit).outputs
    return made


def _write_polygons(job: Job, source: Source, path: Path, grid: Grid, schema: ClassSchema) -> Path:
    """Write the polygons of a run, by as many threads as computed its tiles here."""
    planned = vector.polygons_need(prod(grid.shape))
    room, runtime = max(planned, job.budget.host - machine.resident()), job.config.runtime
    workers = 1 if runtime.distributed else runtime.workers
    with ExitStack() as stack:
        scores = _scores(job, source, schema, stack)
        ledger = stack.enter_context(Ledger(path.parent, workers=workers))
        vector.write_polygons(
            *(source, path, vector.PolygonSpec()),
            grid=grid,
            schema=schema,
            scores=scores,
            room=room,
            ledger=ledger,
        )
    return path


def _scores(job: Job, source: Source, schema: ClassSchema, stack: ExitStack) -> Source | None:
    """Return the scores that a run has written of its classes, for their means in polygons.

    A class that several outputs stand for has none of its own, nor have classes that a bundle
    makes of others; raw outputs as they are have no range.
    """
    path, coding = job.config.output.scores, job.coding
    if path is None or coding is None or job.own is not None or len(schema.unique) < len(schema):
        return None
    if coding.scale is None and job.card.activation == "none":
        return None
    return open_scores(path, source, (source.uri, schema), stack)
