"""Polygons to a file, batch by batch, whole or not at all; with `_stored` the door to pyarrow."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from numpy.typing import NDArray

from ..budget import format_bytes
from ..io import remove, settle, silenced, temporary_beside, writing
from ..labels import ClassInfo
from ._area import projjson
from ._formats import PARQUET, check_polygon_format, layer_options
from ._style import TABLE, style_rows
from ._wkb import Shapes

#: Rows of a group that a reader of Parquet takes or leaves by its bounding boxes.
_GROUP = 1 << 16
#: Bytes left on a disk that is full.
_FULL = 1 << 20
_BOX = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Batch:
    """Some features.

    Args:
        shapes: Polygons or multipolygons.
        fields: Name -> one value per feature: whole numbers, float64 or texts.
    """

    shapes: Shapes
    fields: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Layer:
    """What all features of a file have in common.

    Args:
        kind: "Polygon" or "MultiPolygon".
        crs: WKT or EPSG code, or None.
        fields: Name -> dtype; object stands for text.
        classes: Those that it has, whose colours a GeoPackage is styled with; of none it is not.
        zooms: First and last zoom level of vector tiles.
    """

    kind: str
    crs: str | None
    fields: dict[str, np.dtype[Any]]
    classes: tuple[ClassInfo, ...] = ()
    zooms: tuple[int, int] | None = None


def write_stream(path: Path, layer: Layer, batches: Iterator[Batch]) -> None:
    """Write features as they are made.

    Args:
        path: Final name; the suffix is the format.
        layer: What they have in common.
        batches: The features.

    Raises:
        UnknownFormat: No vector format here has this suffix.
        OutputFailed: The file cannot be written.
    """
    driver = check_polygon_format(path)
    partial = temporary_beside(path)
    try:
        with writing(path, (OSError, RuntimeError, pa.ArrowException)):
            partial.unlink(missing_ok=True)  # a link is not followed
            if driver == PARQUET:
                _write_parquet(partial, layer, batches)
            else:
                _write_ogr(partial, path.stem, driver, layer, batches)
            if driver == "GPKG" and layer.classes and path.stem.lower() != TABLE:
                _write_style(partial, path.stem, layer.classes)
            settle(partial, path)
    finally:
        remove(partial)


def _write_ogr(path: Path, name: str, driver: str, layer: Layer, batches: Iterator[Batch]) -> None:
    """Write through GDAL, which asks for batch after batch."""
    failed: list[BaseException] = []

    def rows() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                yield pa.record_batch(_columns(batch), schema=schema)
        except BaseException as error:  # GDAL would only tell that something went wrong
            failed.append(error)
            raise

    schema = pa.schema([("geometry", pa.binary()), *_types(layer)])
    options = layer_options(driver, layer.crs)
    levels = {}
    if layer.zooms is not None:
        levels = dict(zip(("MINZOOM", "MAXZOOM"), map(str, layer.zooms), strict=True))
    try:
        with silenced("'crs' was not provided|No SRS"):  # an image may have none
            pyogrio.raw.write_arrow(
                pa.RecordBatchReader.from_batches(schema, rows()),
                str(path),
                layer=name,
                driver=driver,
                geometry_name="geometry",
                geometry_type=layer.kind,
                crs=layer.crs,
                layer_options=options,
                dataset_options=levels,
            )
    except Exception as error:
        if failed:
            raise failed[0] from None
        free = shutil.disk_usage(path.parent).free
        if free < _FULL:  # GDAL tells of what it tried after that
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise RuntimeError(  # or it has taken back what filled the disk, and says no more
            f"{format_bytes(free)} are free in {path.parent}, GDAL says: {error}"
        ) from error


def _write_style(path: Path, name: str, classes: tuple[ClassInfo, ...]) -> None:
    """Add the table of styles to a GeoPackage, as a plain table of attributes."""
    geometry = pyogrio.read_info(str(path), layer=name)["geometry_name"]
    rows = style_rows(name, geometry, classes)
    pyogrio.raw.write(
        str(path),
        None,
        list(rows.values()),
        list(rows),
        driver="GPKG",
        layer=TABLE,
        layer_options={"FID": "id"},
    )


def _write_parquet(path: Path, layer: Layer, batches: Iterator[Batch]) -> None:
    """Write GeoParquet 1.1 (geoparquet.org/releases/v1.1.0): WKB, with a box for every feature."""
    box = pa.struct([(name, pa.float64()) for name in _BOX])
    schema = pa.schema([("geometry", pa.binary()), *_types(layer), ("bbox", box)])
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            bounds = batch.shapes.boxes
            low, high = np.fmin(low, bounds[:, :2].min(0)), np.fmax(high, bounds[:, 2:].max(0))
            boxes = pa.StructArray.from_arrays(list(bounds.T), names=list(_BOX))
            rows = pa.record_batch([*_columns(batch), boxes], schema=schema)
            writer.write_batch(rows, row_group_size=_GROUP)
        extent = [*low.tolist(), *high.tolist()] if (low <= high).all() else None
        writer.add_key_value_metadata({"geo": json.dumps(_geo(layer, extent))})


def _geo(layer: Layer, extent: list[float] | None) -> dict[str, Any]:
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [layer.kind],
        "crs": projjson(layer.crs),
        "orientation": "counterclockwise",
        "covering": {"bbox": {name: ["bbox", name] for name in _BOX}},
    }
    if extent is not None:
        column["bbox"] = extent
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _types(layer: Layer) -> list[tuple[str, Any]]:
    return [
        (name, pa.string() if dtype.kind == "O" else pa.from_numpy_dtype(dtype))
        for name, dtype in layer.fields.items()
    ]


def _columns(batch: Batch) -> list[Any]:
    buffers = [None, pa.py_buffer(batch.shapes.offsets), pa.py_buffer(batch.shapes.data)]
    wkb = pa.Array.from_buffers(pa.binary(), len(batch.shapes), buffers)
    return [wkb, *(pa.array(values) for values in batch.fields.values())]
