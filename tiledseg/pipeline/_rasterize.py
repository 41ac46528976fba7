"""Polygons -> a class map on the grid of an image, whatever its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .. import vector
from ..components import block_boxes
from ..datasets import BurntLabels, Legend, MarkedPolygons, plain_mark
from ..errors import ConfigError
from ..grid import Grid
from ..io import SinkSpec, create_sink, open_source, read_schema
from ..labels import ClassInfo, ClassSchema, default_colors
from ._classes import read_classes
from ._names import Output, check_outputs, output_path, spare_inputs
from ._settings import OnShare, ignore

#: The fields that hold labels and names of classes in polygons that tiledseg wrote.
_ID, _NAME = "class_id", "class_name"
#: Labels are below this.
_LABELS = 65534
Outside = Literal["background", "nodata"]


@dataclass(frozen=True)
class Rasterized:
    """A class map that was written.

    Args:
        outputs: The files made, the map first.
        polygons: How many there are in the file.
        samples: Name of every class -> samples.
        strange: What polygons are marked with that is no class, and how many; those have no truth.
    """

    outputs: list[Path]
    polygons: int
    samples: dict[str, int]
    strange: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "polygons": self.polygons,
            "samples": self.samples,
            "strange": self.strange,
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        width = max(map(len, self.samples))
        lines = [f"  {name:{width}}  {count:,} samples" for name, count in self.samples.items()]
        if self.strange:
            told = ", ".join(f"{mark} ({count:,})" for mark, count in self.strange.items())
            lines.append(f"polygons of no class, burnt as nodata: {told:.300}")
        lines.append(f"{self.polygons:,} polygons; wrote {self.outputs[0]}")
        return "\n".join(lines)


def rasterize(
    polygons: str | Path,
    like: Any,
    out: str | Path,
    *,
    attribute: str | None = None,
    classes: Sequence[str] | ClassSchema | str | Path | None = None,
    all_touched: bool = False,
    outside: Outside = "background",
    on_share: OnShare | None = None,
) -> Rasterized:
    """Burn polygons on the grid of an image.

    The map is made block by block, of any size; the polygons are held in memory, all of them. A
    sample gets the class of the last polygon in the file that its centre lies in, by the rule that
    training's labels are burnt by (GDAL's). The map does not depend on blocks.

    Args:
        polygons: Any vector file that OGR reads; they are brought into the image's CRS.
        like: Image of any size whose grid is taken.
        out: Class map to write; the suffix is the format.
        attribute: Field that holds the class: a label or a name. None takes that of polygons that
            tiledseg wrote; where there is none, all polygons are one class.
        classes: Names of classes 1, 2 ..., the classes themselves, or a YAML that lists them; None
            takes those of ``like`` if it is a class map, else what the field holds.
        all_touched: Whether a sample counts that a polygon covers any part of.
        outside: What samples in no polygon become.
        on_share: Told the share that is done, 0 to 1.

    Raises:
        ConfigError: There is no such file, field or class, or the image is a volume.
        UnknownFormat: The suffix of ``out`` is none that is written.
        DamagedInput: A file is not what it claims to be.
        OutputFailed: The result cannot be written.
    """
    if outside not in get_args(Outside):
        raise ConfigError(f"outside {outside!r:.40} is none of {', '.join(get_args(Outside))}")
    target, path = output_path("out", str(out)), Path(polygons)
    outputs = [Output("out", target)]
    with open_source(like) as source:
        grid = source.grid
        check_outputs(outputs)
        spare_inputs(outputs, [*source.files(), path])
    if grid.ndim != 2:
        raise ConfigError(f"{like} is a volume: polygons are burnt on the grid of a 2-D image")
    found, schema = _read(path, attribute, _schema(classes, like))
    rest = schema.nodata
    if outside == "background":
        if schema.background is None:
            raise ConfigError(
                "the classes name no background for samples in no polygon: name one, or leave "
                "those nodata (--outside nodata)"
            )
        rest = schema.background
    burnt = BurntLabels.of_polygons(found, grid, schema, Legend.of_schema(schema), rest)
    burnt.all_touched = all_touched
    made, counts = _write(burnt, grid, target, on_share or ignore)
    samples: Counter[str] = Counter()  # classes of one name are told together
    for c in schema.unique:
        samples[c.name] += int(counts[c.id])
    return Rasterized(made, len(found.polygons), dict(samples), dict(burnt.strange))


def _read(
    path: Path, attribute: str | None, schema: ClassSchema | None
) -> tuple[MarkedPolygons, ClassSchema]:
    """Return the polygons and what they are marked with; ``schema``, or else what that tells."""
    own = attribute is None
    fields = (_ID, _NAME) if own else (str(attribute),)
    shapes, values, crs = vector.read_fields(path, *fields, optional=own)
    if fields[0] not in values:
        schema = schema or _named({1: "polygon"})
        return MarkedPolygons(shapes, [_only(schema, path)] * len(shapes), crs, path), schema
    marks = [plain_mark(value) for value in values[fields[0]].tolist()]
    names = {}
    if _NAME in values:
        names = dict(zip(marks, map(str, values[_NAME].tolist()), strict=True))
    return MarkedPolygons(shapes, marks, crs, path), schema or _found_schema(path, marks, names)


def _only(schema: ClassSchema, path: Path) -> int:
    """Return the one class that polygons without a field can be.

    Raises:
        ConfigError: There are several.
    """
    left = [c for c in schema.unique if c.id != schema.background]
    if len(left) != 1:
        told = ", ".join(c.name for c in left)
        raise ConfigError(
            f"{path} has no field {_ID} that tells which of {told:.200} a polygon is; name the "
            "field that does (--attribute), or one class (--classes)"
        )
    return left[0].id


def _schema(
    classes: Sequence[str] | ClassSchema | str | Path | None, like: Any
) -> ClassSchema | None:
    """Return the classes that were given, or those of a class map."""
    if isinstance(classes, ClassSchema):
        return classes
    if isinstance(classes, str | Path):
        return read_classes(Path(classes))
    if classes is not None:
        return _named(dict(enumerate(classes, 1)))
    return read_schema(like) if isinstance(like, str | Path) else None


def _found_schema(path: Path, found: Sequence[Any], names: dict[Any, str]) -> ClassSchema:
    """Return the classes that polygons are marked with: labels, or names in alphabetic order.

    Raises:
        ConfigError: There are none, numbers and names are mixed, or there are too many.
    """
    labels = {mark for mark in found if isinstance(mark, int)}
    texts = {mark for mark in found if isinstance(mark, str) and mark}
    if bool(labels) == bool(texts):
        raise ConfigError(
            f"the field of {path} holds {'numbers and texts' if labels else 'no classes'}; "
            "name the classes (--classes)"
        )
    if texts:
        labels = set(range(1, len(texts) + 1))
        names = dict(zip(sorted(labels), sorted(texts), strict=True))
    if min(labels) < 0 or max(labels) >= _LABELS:
        raise ConfigError(
            f"the field of {path} holds {min(labels)} to {max(labels)}: labels of classes "
            f"are 0 to {_LABELS - 1}; name another field, or the classes (--classes)"
        )
    return _named({i: names.get(i, f"class {i}") for i in labels})


def _named(names: dict[int, str]) -> ClassSchema:
    """Return classes by label, with a background 0."""
    names = {0: "background", **names}
    colors = default_colors(len(names), 0)
    classes = (
        ClassInfo(i, names[i], color) for i, color in zip(sorted(names), colors, strict=True)
    )
    return ClassSchema(tuple(classes), 0)


def _write(
    burnt: BurntLabels, grid: Grid, target: Path, tell: OnShare
) -> tuple[list[Path], NDArray[np.int64]]:
    """Write the map whole or not at all; return the files and the samples of every label."""
    schema = burnt.schema
    sink = create_sink(target, SinkSpec(grid, schema.dtype, ("class",), schema.nodata, schema))
    counts, done = np.zeros(1 << 16, np.int64), 0
    try:
        sink.prepare()
        for box in block_boxes(grid.shape, burnt.blocks):
            labels = burnt.read(box)
            counts += np.bincount(labels.ravel(), minlength=len(counts))
            sink.write(box, labels)
            done += box.size
            tell(done / grid.box.size)
        return sink.commit(), counts
    except BaseException:
        sink.abort()
        raise
