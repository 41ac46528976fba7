"""Class map -> polygons per class. The class map and the polygons are held in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..grid import Grid
from ..io import polygonize
from ..labels import ClassSchema
from ._area import polygon_area, to_lonlat
from ._features import check_polygon_format, write_features

#: Bytes per sample of class map, masks and outlines; 13 were measured on the demo's land cover.
_BYTES_PER_SAMPLE = 24


def polygons_need(samples: int) -> int:
    """Return the bytes `write_polygons` usually needs for a class map of ``samples``.

    A map of pure noise, every other sample a polygon, needs about six times as much.
    """
    return samples * _BYTES_PER_SAMPLE


def write_polygons(class_map: NDArray[Any], grid: Grid, schema: ClassSchema, path: Path) -> int:
    """Write the outline of every 4-connected region.

    Background and nodata get no polygon. Before any simplification the area of the polygons is
    the area of the samples exactly.

    Args:
        class_map: Labels, (y, x), in the schema's dtype.
        grid: Where the samples lie.
        schema: The classes.
        path: .gpkg, .geojson (in longitude and latitude, as RFC 7946 wants) or .fgb.

    Returns:
        The number of polygons.

    Raises:
        UnknownFormat: The suffix is none of these.
        OutputFailed: The file cannot be written.
    """
    driver = check_polygon_format(path)
    names = {c.id: c.name for c in schema.unique if c.id != schema.background}
    wanted = np.isin(class_map, list(names))
    measure, area_field = polygon_area(grid)
    outlines, labels = [], []
    for outline, label in polygonize(class_map, wanted, grid.matrix):
        outlines.append(shapely.geometry.shape(outline))
        labels.append(label)
    areas = np.array([measure(p) for p in outlines], dtype=np.float64)
    crs = grid.space.crs
    lonlat = to_lonlat(grid.space) if driver == "GeoJSON" else None
    if lonlat is not None:
        outlines = [shapely.transform(p, lonlat, interleaved=False) for p in outlines]
        crs = "EPSG:4326"
    fields: dict[str, NDArray[Any]] = {
        "class_id": np.array(labels, dtype=np.int32),
        "class_name": np.array([names[i] for i in labels], dtype=object),
        area_field: areas,
    }
    write_features(path, outlines, fields, crs)
    return len(outlines)
