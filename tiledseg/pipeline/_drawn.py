"""A report of polygons: a class map, and what the file made of it shows at the same samples."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import report, vector
from ..budget import format_bytes
from ..components import NODATA
from ..document import to_yaml
from ..engine import machine
from ..io import Source, around_the_world, burn_values
from ..labels import ClassSchema, schema_of_map
from ._names import report_folder
from ._report import versions
from ._seen import SHOWN, Picked, count_labels

#: Samples that are read at a time.
_READ = 1 << 22
#: Where there is no polygon; no label is that large.
_NONE = 65535


@dataclass(frozen=True)
class Drawing:
    """A file of polygons and the map that it was made of.

    Args:
        source: The map.
        schema: Its classes, as far as it names them.
        path: The file.
        spec: Which polygons it holds.
        count: How many those are.
        began: When the work began, by `time.perf_counter`.
    """

    source: Source
    schema: ClassSchema | None
    path: Path
    spec: vector.PolygonSpec
    count: int
    began: float

    def report(self) -> list[Path]:
        """Read the file, draw what is in it, and write the report beside it.

        Samples are drawn at equal steps of the map's own, so a polygon that follows the sides of
        samples covers those of its class and no other.

        Returns:
            The files of the report, the page first.

        Raises:
            DamagedInput: The map or the file cannot be read.
            OutputFailed: A file cannot be written.
        """
        grid = self.source.grid
        step = -(-max(grid.shape) // SHOWN[2])
        before, counts = self._map(step)
        held = np.flatnonzero(counts).tolist()
        schema = schema_of_map(self.schema, held, self.source.nodata, self.source.palette)
        after = self._file(before.shape, step)
        drawn = after != _NONE
        if schema.background is not None:
            after[~drawn] = schema.background
            drawn |= before == schema.background
        known = before != NODATA
        alike = known & drawn & (after == before)
        samples = counts[[c.id for c in schema.unique]]
        facts = report.ReportFacts(
            title=f"{self.path.name}: polygons of {Path(self.source.uri).name}",
            grid=grid,
            schema=schema,
            image=before[np.newaxis],
            valid=known,
            class_map=after,
            channels=("map",),
            measures=report.measure_classes(samples, samples.astype(float), "samples", schema),
            ran={
                "input": self.source.uri,
                "samples": " x ".join(map(str, grid.shape)),
                "polygons": f"{self.count:,}",
                "picture": "the map, the polygons as they are in the file, where they differ",
                "samples_drawn": f"{known.sum():,}",
                "samples_alike": f"{alike.sum():,}",
                "seconds": round(time.perf_counter() - self.began, 2),
                "peak_memory": format_bytes(machine.peak()),
            },
            config=to_yaml({"vectorize": _plain(self.spec)}),
            versions=versions(),
            warnings=(),
            outputs=(self.path,),
        )
        height, width = (n * spacing for n, spacing in zip(grid.shape, grid.spacing, strict=True))
        panel = report.Panel("polygons", before, after, known, drawn, (height, width))
        return report.write_report(report_folder(self.path), facts, panel)

    def _map(self, step: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return every ``step``-th sample of the map, and how often it has every label."""
        picked = Picked([np.arange(step // 2, n, step) for n in self.source.grid.shape])
        counts = count_labels(self.source, picked, _READ)
        return picked.labels, counts

    def _file(self, shape: tuple[int, ...], step: int) -> NDArray[np.int32]:
        """Return the classes of polygons at every ``step``-th sample."""
        shift = step // 2 + 0.5 - step / 2
        there = np.array([[step, 0, shift], [0, step, shift], [0, 0, 1]])
        affine = self.source.grid.matrix @ there
        whole = np.full(shape, _NONE, np.int32)
        for shapes, labels in vector.stored_polygons(self.path, self.source.grid.space):
            placed, owners = around_the_world(shapes, self.source.grid)
            burnt = burn_values(list(placed), labels[owners].tolist(), shape, affine, _NONE)
            whole[burnt != _NONE] = burnt[burnt != _NONE]
        return whole


def _plain(spec: vector.PolygonSpec) -> dict[str, object]:
    """Return settings as plain values."""
    lists = {"classes": list(spec.classes or ()), "regularize": list(spec.regularize)}
    return {**asdict(spec), **lists}
