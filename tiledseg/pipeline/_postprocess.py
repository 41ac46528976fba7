"""A finished class map -> one without small objects, holes and stray parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import vector
from ..components import (
    NODATA,
    Components,
    Graph,
    Legend,
    Step,
    find_components,
    require_class_map,
)
from ..errors import ConfigError
from ..io import SinkSpec, Source, create_sink, open_source, read_schema
from ..labels import ClassInfo, ClassSchema, default_colors
from ._names import Output, check_outputs, output_path, spare_inputs

OnShare = Callable[[float], None]
#: What `tiledseg.vector.row_measures` tells amounts in -> how steps speak of them.
_UNITS: dict[str, tuple[Any, float]] = {
    "ha": ("m2", 1e4),
    "ml": ("mm3", 1e3),
    "samples": ("samples", 1.0),
}


@dataclass(frozen=True)
class Postprocessed:
    """A class map that was written.

    Args:
        outputs: The files made, the map first.
        objects: Components before, and after.
        samples: Name of every class -> samples before, and after.
        changed: Samples whose class changed.
    """

    outputs: list[Path]
    objects: tuple[int, int]
    samples: dict[str, tuple[int, int]]
    changed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "objects": list(self.objects),
            "samples": {name: list(both) for name, both in self.samples.items()},
            "changed": self.changed,
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        width = max(map(len, self.samples), default=0)
        lines = [
            f"  {name:{width}}  {before:,} -> {after:,} samples"
            for name, (before, after) in self.samples.items()
        ]
        before, after = self.objects
        return "\n".join(
            [
                *lines,
                f"{before:,} objects -> {after:,}; {self.changed:,} samples changed",
                f"wrote {self.outputs[0]}",
            ]
        )


def postprocess(
    class_map: str | Path,
    out: str | Path,
    steps: Sequence[Step],
    *,
    connectivity: int | None = None,
    on_share: OnShare | None = None,
) -> Postprocessed:
    """Change a class map component by component, whatever its size.

    The map is read twice, in whole rows: once to find the components, once to write. Grid, names,
    colours and nodata stay. What each step does is exact and does not depend on how a map is read.

    Args:
        class_map: Class map of any tool: one channel of labels, a scene or a volume. Names and
            colours are taken from it where tiledseg wrote it, colours from a palette; else classes
            are named by their label, and 0 is background unless it is nodata.
        out: Class map to write; the suffix is the format.
        steps: `KeepLargest`, `RemoveSmall` and `FillHoles`, in this order.
        connectivity: What makes an object one: 4 or 8 neighbours in 2-D; 6, 18 or 26 in 3-D; None
            takes 4 or 6.
        on_share: Told the share that is done, 0 to 1.

    Raises:
        ConfigError: The image is no class map, a step does not fit it, or ``out`` is the map.
        UnknownFormat: The suffix of ``out`` is none that is written.
        DamagedInput: The map cannot be read.
        OutputFailed: The result cannot be written.
    """
    if not steps:
        raise ConfigError("nothing to do: give at least one step, like the least area of an object")
    target, tell = output_path("out", str(out)), on_share or _ignore
    with open_source(class_map) as source:
        outputs = [Output("out", target)]
        check_outputs(outputs)
        spare_inputs(outputs, source.files())
        require_class_map(source)
        measures, told = vector.row_measures(source.grid)
        unit, factor = _UNITS[told]
        found = find_components(
            source,
            connectivity,
            borders=True,
            measures=measures * factor,
            on_share=lambda share: tell(share / 2),
        )
        schema = _schema(class_map, source, found)
        legend = Legend(schema, unit, str(class_map))
        graph = Graph.of(found)
        for step in steps:
            graph = step.apply(graph, legend)
        made = _write(found, graph.labels(), target, schema, lambda share: tell(0.5 + share / 2))
    return _told(found, graph, schema, made)


def _schema(class_map: str | Path, source: Source, found: Components) -> ClassSchema:
    """Return the classes of a map, those that it does not name called by their label."""
    schema = read_schema(class_map)
    held = np.unique(found.table.labels).tolist()
    background = schema.background if schema else (None if source.nodata == 0 else 0)
    known = {} if schema is None else {c.id: c for c in schema.unique}
    ids = sorted({*known, *held, *(() if background is None else (background,))})
    colors = default_colors(len(ids), None if background is None else ids.index(background))
    if source.palette is not None:
        shown = source.palette
        colors = [
            (int(shown[i][0]), int(shown[i][1]), int(shown[i][2])) if i < len(shown) else color
            for i, color in zip(ids, colors, strict=True)
        ]
    infos = (known.get(i, ClassInfo(i, f"class {i}", c)) for i, c in zip(ids, colors, strict=True))
    return ClassSchema(tuple(infos), background)


def _write(
    found: Components,
    labels: NDArray[np.int32],
    target: Path,
    schema: ClassSchema,
    tell: OnShare,
) -> list[Path]:
    """Write the map with a label per component, whole or not at all."""
    source, dtype, nodata = found.source, schema.dtype, schema.nodata
    declared = source.nodata
    if declared is not None and declared in range(2**16) and declared not in schema.ids:
        nodata = int(declared)
        dtype = np.result_type(dtype, np.min_scalar_type(nodata))
    values = np.where(labels == NODATA, nodata, labels).astype(np.int64)
    sink = create_sink(target, SinkSpec(source.grid, dtype, ("class",), nodata, schema))
    done = 0
    try:
        sink.prepare()
        for box, block in found.rewritten(values, nodata):
            sink.write(box, block[np.newaxis].astype(dtype))
            done += box.size
            tell(done / source.grid.box.size)
        return sink.commit()
    except BaseException:
        sink.abort()
        raise


def _told(found: Components, graph: Graph, schema: ClassSchema, made: list[Path]) -> Postprocessed:
    before, after = found.table, graph.table
    samples = {
        c.name: (
            int(before.sizes[before.labels == c.id].sum()),
            int(after.sizes[after.labels == c.id].sum()),
        )
        for c in schema.unique
    }
    changed = int(before.sizes[graph.labels() != before.labels].sum())
    return Postprocessed(made, (len(before), len(after)), samples, changed)


def _ignore(share: float) -> None:
    """Take no notice."""
