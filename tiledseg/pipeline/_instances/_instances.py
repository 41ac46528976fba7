"""A finished class map -> its objects, numbered over the whole image."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...components import Objects
from ...io import (
    PNG_LARGEST,
    IdPngSink,
    Sink,
    SinkSpec,
    Source,
    create_sink,
    remove,
    require_own,
    temporary_beside,
    writing,
)
from ...objects import LARGEST, Found, Segments, segments_path, write_segments
from .._map_classes import open_map
from .._names import Output, check_outputs, output_path, spare_inputs
from .._settings import OnShare, ignore
from ._find import Wanted, find_objects
from ._result import Instances
from ._spec import InstancesSpec
from ._table import check_table, write_table

#: How a JSON of segments begins.
_OPENING = '{"images": [{"id": 1, "file_name": '
#: Share of the time that finding takes.
_FOUND = 0.7


def instances(
    class_map: str | Path,
    out: str | Path,
    objects: str | Path | None = None,
    *,
    on_share: OnShare | None = None,
    **settings: Any,
) -> Instances:
    """Number the objects of a class map of any size.

    An object is a component, a part of one, or a group around a centre (see `InstancesSpec`). Ids
    are 1, 2, 3 ... in the order of the objects' first samples in the raveled map, and depend on
    nothing else. Neither map nor id map is ever in memory: beside a block of the map of some rows,
    500 bytes per object are held, and what an object that is split takes, all within the memory of
    the settings. Id map, table and segments are put in place together, when all are written.

    Args:
        class_map: Class map of any tool: one channel of labels, a scene or a volume.
        out: Id map to write, uint32, 0 where there is no object: a raster or volume, or .png, where
            the colour is R + 256 G + 65536 B, as in COCO.
        objects: Table of the objects to write: .csv, or points (.gpkg, .geojson, .fgb).
        on_share: Told the share that is done, 0 to 1.
        settings: Those of `InstancesSpec`: classes, split, centres, panoptic ...

    Raises:
        ConfigError: A wrong setting, the image is no class map, it has no things, or ids do not
            fit the format.
        GridMismatch: Scores or heads lie on another grid.
        MissingBackend: A split needs scikit-image.
        DamagedInput: A file is not what it claims to be.
        BudgetExceeded: There are more objects than the memory has room for.
        OutputFailed: Something cannot be written; then nothing is.
    """
    spec, tell = InstancesSpec.of(settings), on_share or ignore
    names = Names.of(out, objects, spec.panoptic)
    with ExitStack() as stack:
        source, schema = open_map(class_map)
        stack.enter_context(source)
        sink = names.checked(source, spec.files())
        held = (stack, names.out.parent)
        wanted, found, left = find_objects(
            source, (str(class_map), schema), spec, held, lambda share: tell(_FOUND * share)
        )
        segments = wanted.numbered(found, spec, names.most)
        made = write_all(
            names,
            found,
            wanted,
            segments,
            sink,
            lambda share: tell(_FOUND + (1 - _FOUND) * share),
        )
    return told_of(made, segments, wanted, left)


@dataclass(frozen=True)
class Names:
    """What is written.

    Args:
        out: The id map.
        objects: Table of the objects, or None.
        segments: JSON of the segments, or None.
    """

    out: Path
    objects: Path | None
    segments: Path | None

    @classmethod
    def of(cls, out: str | Path, objects: str | Path | None, panoptic: bool) -> Names:
        """Return the names, that of the segments beside the id map."""
        target = output_path("out", str(out))
        table = None if objects is None else output_path("objects", str(objects))
        return cls(target, table, segments_path(target) if panoptic else None)

    @property
    def most(self) -> int:
        """The largest id that the map can hold."""
        return PNG_LARGEST if self.out.suffix.lower() == ".png" else LARGEST

    def checked(self, source: Source, others: list[Path]) -> Sink:
        """Refuse names that cannot be written, or are those of what is read; return the sink."""
        named = [("out", self.out), ("objects", self.objects), ("segments", self.segments)]
        outputs = [Output(name, path) for name, path in named if path is not None]
        check_outputs(outputs)
        spare_inputs(outputs, [*source.files(), *others])
        if self.segments is not None:
            require_own(self.segments, _OPENING)
        if self.objects is not None:
            check_table(self.objects, source.grid.ndim)
        spec = SinkSpec(source.grid, np.dtype(np.uint32), ("id",), None)
        if self.out.suffix.lower() == ".png":
            return IdPngSink(self.out, spec)
        return create_sink(self.out, spec, "gtiff")  # overviews would mix ids


def write_all(
    names: Names, found: Found, wanted: Wanted, segments: Segments, sink: Sink, tell: OnShare
) -> list[Path]:
    """Write id map, table and segments: all of them, or none."""
    done, size = 0, sink.spec.grid.box.size
    beside = [path for path in (names.objects, names.segments) if path is not None]
    try:
        sink.prepare()
        for box, block in found.rewritten(segments.values, 0):
            sink.write(box, block[np.newaxis].astype(np.uint32))
            done += box.size
            tell(done / size)
        _write_beside(names, wanted, found.unit, segments)
        made = sink.commit()
        for path in beside:
            with writing(path):
                temporary_beside(path).replace(path)
        return made + beside
    except BaseException:
        sink.abort()
        raise
    finally:
        for path in beside:
            remove(temporary_beside(path))


def _write_beside(names: Names, wanted: Wanted, unit: float, segments: Segments) -> None:
    """Write table and segments under temporary names."""
    grid, facts = wanted.source.grid, wanted.facts
    if names.objects is not None:
        things = segments.table.where(slice(segments.things))
        told = Objects.of(things, unit, grid, wanted.scored)
        write_table(names.objects, told, facts.unit, grid, facts.schema)
    if names.segments is not None:
        write_segments(names.segments, names.out, grid.shape, segments, facts.schema)


def told_of(made: list[Path], segments: Segments, wanted: Wanted, left: int) -> Instances:
    """Return what was made."""
    names = {c.id: c.name for c in wanted.facts.schema.unique}
    labels = segments.table.labels
    counts = dict.fromkeys((names[i] for i in wanted.things.tolist()), 0)
    for i in wanted.things.tolist():  # classes of one name are told together
        counts[names[i]] += int((labels[: segments.things] == i).sum())
    stuff = tuple(names[i] for i in labels[segments.things :].tolist())
    return Instances(made, counts, stuff, left)
