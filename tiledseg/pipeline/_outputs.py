"""What a run leaves behind: sinks for class map and scores, vectors, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import vector
from ..config import RunConfig
from ..engine import WorkStore
from ..grid import Grid
from ..io import MemorySink, OrientedSink, Sink, SinkSpec, create_sink
from ..labels import ClassSchema
from ._job import Job

#: Threads that compress at most: GDAL holds some 30 MB for each.
_MOST_THREADS = 4


def label_sink(job: Job, out: Path | None) -> Sink:
    """Return the unprepared sink of the class map, fed in the model's orientation."""
    schema = job.card.schema
    spec = SinkSpec(job.grid, schema.dtype, ("class",), schema.nodata, schema)
    return _oriented(job, _sink(job, out, spec))


def score_sink(job: Job) -> Sink | None:
    """Return the unprepared sink of the scores, or None where none are wanted."""
    coding, path = job.coding, job.config.output.scores
    if coding is None or path is None:
        return None
    names = tuple(c.name for c in job.card.schema.classes)[-job.card.outputs :]
    spec = SinkSpec(job.grid, coding.dtype, names, coding.nodata, scale=coding.scale)
    return _oriented(job, _sink(job, Path(path), spec))


def _sink(job: Job, path: Path | None, spec: SinkSpec) -> Sink:
    if path is None:
        return MemorySink(spec)
    runtime = job.config.runtime
    threads = job.plan.threads * (1 if runtime.distributed else runtime.workers)
    return create_sink(path, spec, job.config.output.layout, min(threads, _MOST_THREADS))


def _oriented(job: Job, sink: Sink) -> Sink:
    return sink if job.axes is None else OrientedSink(sink, job.axes)


def write_vectors(
    config: RunConfig, class_map: NDArray[Any], grid: Grid, schema: ClassSchema
) -> list[Path]:
    """Write the polygons or surfaces the config asks for; return the files made."""
    made: list[Path] = []
    if config.output.polygons is not None:
        path = Path(config.output.polygons)
        vector.write_polygons(class_map, grid, schema, path)
        made.append(path)
    if config.output.surfaces is not None:
        folder = Path(config.output.surfaces)
        made += vector.write_surfaces(class_map, grid, schema, folder, config.output.surface_format)
    return made


def whole_map(job: Job, store: WorkStore) -> NDArray[Any]:
    """Return the whole class map in the image's own orientation."""
    labels = store.labels(job.plan.output.box)
    return labels if job.axes is None else job.axes.inverse.apply(labels)
