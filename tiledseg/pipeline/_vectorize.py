"""A finished class map -> polygons."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import vector
from ..components import require_class_map
from ..config import check_threads
from ..engine import machine
from ..errors import ConfigError
from ..io import Source, open_source, read_schema
from ..labels import ClassSchema
from ._names import (
    Output,
    check_outputs,
    output_path,
    report_folder,
    spare_inputs,
    work_folder,
)
from ._scores import open_scores
from ._settings import OnShare, read_settings
from ._unfinished import unfinished


@dataclass(frozen=True)
class Vectorized:
    """Polygons that were written.

    Args:
        outputs: The files made, that of the polygons first.
        polygons: How many it holds.
    """

    outputs: list[Path]
    polygons: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"outputs": [str(path) for path in self.outputs], "polygons": self.polygons}

    def summary(self) -> str:
        """Return a few lines for people."""
        lines = [f"wrote {path}" for path in self.outputs]
        return "\n".join([f"{self.polygons:,} polygons", *lines])


def vectorize(
    class_map: str | Path,
    out: str | Path,
    memory: str | None = None,
    *,
    scores: str | Path | None = None,
    workers: int = 1,
    fresh: bool = False,
    with_report: bool = False,
    on_share: OnShare | None = None,
    **settings: Any,
) -> Vectorized:
    """Turn the classes of a class map into polygons.

    Polygons are made band by band, whatever the size of the map; see `tiledseg.vector` for what
    they hold to. What is done is kept in ``out``.work until all is: the same call goes on with it.

    Args:
        class_map: Class map of any tool: one channel of labels. Names and colours are taken from it
            where tiledseg wrote it, else classes are named by their label and 0 is background.
        out: Vector file: .gpkg, .fgb, .parquet, .geojson, .pmtiles.
        memory: Host memory of the process, like ``6GB``; None takes half of what is free.
        scores: Scores of 0 to 1 on the map's grid: one channel, ``FILE:CHANNEL``, or one per class
            by name; polygons get their mean.
        workers: Bands, and batches of polygons, that are worked on at the same time, in threads;
            the file does not depend on it, but for the time that a GeoPackage is stamped with.
        fresh: Whether to discard what an earlier call has left, else it is gone on with.
        with_report: Whether to read the polygons again, draw them, and write a report of it beside
            ``out``.
        on_share: Told the share that is done, 0 to 1.
        settings: Those of `PolygonSpec`: ``classes``, ``connectivity``, ``min_area``, ``dissolve``,
            ``smooth``, ``simplify``, ``method``, ``regularize``.

    Returns:
        The files made, and how many polygons there are.

    Raises:
        ConfigError: The image is not a class map, or a setting does not fit it.
        UnknownFormat: No vector file has the suffix of ``out``.
        BudgetExceeded: A table of all objects does not fit.
        DamagedInput: The map cannot be read.
        PlanChanged: Unfinished work is of another map or other settings, or another process is at
            it.
        OutputFailed: The result cannot be written; nothing is there under its name then.
    """
    target, began = output_path("out", str(out)), time.perf_counter()
    with open_source(class_map) as source:
        if source.grid.ndim == 3:
            raise ConfigError(
                f"{class_map} is a volume, and polygons are made of scenes: make surfaces or "
                "contours of it (tiledseg surfaces, tiledseg contours)"
            )
        outputs = _outputs(target, with_report)
        check_outputs(outputs)
        check_threads(workers, "workers")
        spare_inputs(outputs, source.files())
        require_class_map(source)
        spec = read_settings(vector.PolygonSpec, "vectorize", settings, ("classes", "regularize"))
        schema = read_schema(class_map)
        room = machine.limit(memory) - machine.resident() - source.working_bytes
        with ExitStack() as stack:
            scored = None
            if scores is not None:
                scored = open_scores(str(scores), source, (str(class_map), schema), stack)
                spare_inputs(outputs, scored.files())
            identity = {
                **_identity(source, schema, scored),
                "format": target.suffix.lower(),
                **asdict(spec),
            }
            ledger = stack.enter_context(unfinished(target, identity, fresh, workers))
            count = vector.write_polygons(
                source,
                target,
                spec,
                schema=schema,
                scores=scored,
                room=room,
                ledger=ledger,
                on_share=on_share,
            )
        if not with_report:
            return Vectorized([target], count)
        from ._drawn import Drawing  # which brings the pictures

        drawing = Drawing(source, schema, target, spec, count, began)
        return Vectorized([target, *drawing.report()], count)


def _outputs(target: Path, with_report: bool) -> list[Output]:
    """Return all that is written, unfinished work included."""
    outputs = [Output("out", target)]
    if with_report:
        outputs.append(Output("the report", report_folder(target), "folder"))
    return [*outputs, Output("unfinished work", Path(work_folder(target)), "passing")]


def _identity(source: Source, schema: ClassSchema | None, scores: Source | None) -> dict[str, Any]:
    """Return what of the map and its scores polygons depend on."""
    return {
        "map": source.fingerprint(),
        "nodata": repr(source.nodata),
        "place": [source.grid.matrix.tolist(), source.grid.space.crs],
        "legend": None if schema is None else schema.to_dict(),
        "scores": None if scores is None else [scores.channels, scores.fingerprint()],
    }
