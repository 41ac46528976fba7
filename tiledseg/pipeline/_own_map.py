"""The class map that a bundle's own postprocessing made, written as any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import report, vector
from ..errors import TileFailed
from ..io import SinkSpec, centred_picks, create_sink
from ..labels import ClassInfo, ClassSchema, default_colors
from ..normalize import measured
from ._job import Job
from ._outputs import Written, write_vectors
from ._own import Own


def write_own(
    job: Job, own: Own, out: Path | None, scores: NDArray[np.float32], lost: dict[int, str]
) -> Written:
    """Have the bundle make labels of scores, and write them.

    Args:
        job: The job.
        own: The bundle and its image.
        out: The class map; None keeps it in memory.
        scores: Raw, float32, (k, *s).
        lost: Tiles without scores.

    Raises:
        TileFailed: There are such tiles.
        ConfigError: The bundle's code fails.
        OutputFailed: The class map cannot be written.
    """
    if lost:
        tile, reason = next(iter(lost.items()))
        raise TileFailed(
            f"{len(lost)} of {len(job.plan)} tiles failed (tile {tile}: {reason}), and the "
            "bundle's own postprocessing needs all scores: run the same command again to compute "
            "only those"
        )
    labels = own.labels(scores)
    schema, grid = _schema(job.card.schema, labels), own.source.grid
    class_map = labels.astype(schema.dtype)
    outputs = (
        []
        if out is None
        else _write(
            job, out, SinkSpec(grid, schema.dtype, ("class",), schema.nodata, schema), class_map
        )
    )
    outputs += write_vectors(job, class_map, grid, schema)
    limit = max(job.overview[1].shape)
    values, valid = own.source.overview(limit)
    return Written(
        outputs=outputs,
        measures=_measures(class_map, schema, own),
        class_map=class_map,
        schema=schema,
        grid=grid,
        overview=(values, measured(values, valid)),
        picks=class_map[np.ix_(*(centred_picks(n, limit) for n in grid.shape))],
    )


def _write(job: Job, out: Path, spec: SinkSpec, class_map: NDArray[Any]) -> list[Path]:
    sink = create_sink(out, spec, job.config.output.layout)
    try:
        sink.prepare()
        sink.write(spec.grid.box, class_map[np.newaxis])
        return sink.commit()
    except BaseException:
        sink.abort()
        raise


def _measures(
    class_map: NDArray[Any], schema: ClassSchema, own: Own
) -> tuple[report.ClassMeasure, ...]:
    sizes, unit = vector.row_measures(own.source.grid)
    inner = tuple(range(1, class_map.ndim))
    rows = np.array([np.count_nonzero(class_map == c.id, axis=inner) for c in schema.unique])
    return report.measure_classes(rows.sum(1), rows @ sizes, unit, schema)


def _schema(schema: ClassSchema, labels: NDArray[Any]) -> ClassSchema:
    """Return the classes of labels, those that the bundle does not name included.

    Raises:
        ConfigError: A label is larger than a class map holds.
    """
    more = sorted({*np.unique(labels).tolist()} - {*schema.ids.tolist()})
    colors = default_colors(len(schema) + len(more))[len(schema) :]
    named = (ClassInfo(n, f"label {n}", color) for n, color in zip(more, colors, strict=True))
    return ClassSchema((*schema.classes, *named), schema.background)
