"""Objects as a table: CSV, or points at their centroids."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import vector
from ...components import Objects
from ...errors import ConfigError
from ...grid import Grid
from ...io import temporary_beside, to_disk, writing
from ...labels import ClassSchema

#: Rows that are told at a time: some hundred bytes for each of their numbers.
_ROWS = 1 << 13


def check_table(path: Path, ndim: int) -> None:
    """Refuse a table that cannot be made.

    Raises:
        UnknownFormat: The suffix is none that is known.
        ConfigError: Points of a volume were asked for.
    """
    if path.suffix.lower() == ".csv":
        return
    vector.check_point_format(path)
    if ndim != 2:
        raise ConfigError(f"objects of a volume are no points of a map: take .csv, not {path}")


def write_table(path: Path, objects: Objects, unit: str, grid: Grid, schema: ClassSchema) -> None:
    """Write objects under a temporary name beside ``path``; see `temporary_beside`.

    Args:
        path: .csv, or .gpkg, .geojson or .fgb with a point per object.
        objects: What to write.
        unit: Of their measures: "m2", "mm3", or "samples", which are told anyway.
        grid: Of the map.
        schema: The classes.

    Raises:
        OutputFailed: It cannot be written.
    """
    columns = _columns(objects, unit, schema)
    if path.suffix.lower() != ".csv":
        vector.put_points(path, vector.Points(objects.centroids, columns), grid.space)
        return
    names = ("x", "y", "z")[: grid.ndim]
    columns |= dict(zip(names, objects.centroids.T, strict=True))
    partial = temporary_beside(path)
    with writing(path):
        partial.unlink(missing_ok=True)  # a link is not followed
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for start in range(0, len(objects.ids), _ROWS):
                some = (_told(c[start : start + _ROWS]) for c in columns.values())
                writer.writerows(zip(*some, strict=True))
        to_disk(partial)


def _told(values: NDArray[Any]) -> list[Any]:
    """Return values as a CSV holds them: 12 digits, more of which would be rounding."""
    return [f"{v:.12g}" for v in values.tolist()] if values.dtype.kind == "f" else values.tolist()


def _columns(objects: Objects, unit: str, schema: ClassSchema) -> dict[str, NDArray[Any]]:
    names = {c.id: c.name for c in schema.unique}
    columns: dict[str, NDArray[Any]] = {
        "id": objects.ids,
        "class_id": objects.class_ids,
        "class": np.array([names[i] for i in objects.class_ids.tolist()], dtype=object),
        "samples": objects.sizes,
    }
    if unit != "samples":
        columns["area_m2" if unit == "m2" else "volume_mm3"] = objects.measures
    axes = objects.low.shape[1]
    extents = objects.high - objects.low
    for axis, (first, extent) in enumerate(zip("xyz", ("width", "height", "depth"), strict=True)):
        if axis < axes:
            columns[f"box_{first}"] = objects.low[:, axes - 1 - axis]
            columns[f"box_{extent}"] = extents[:, axes - 1 - axis]
    if objects.scores is not None:
        columns["score"] = objects.scores
    return columns
