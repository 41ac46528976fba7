"""Vector files; the only door to pyogrio."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from ..errors import UnknownFormat
from ..io import settle, temporary_beside, writing

_DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf"}


def check_polygon_format(path: Path) -> str:
    """Return GDAL's driver for a file name.

    Raises:
        UnknownFormat: No vector format here has this suffix.
    """
    if path.suffix.lower() not in _DRIVERS:
        raise UnknownFormat(f"cannot write polygons to {path}: known are {', '.join(_DRIVERS)}")
    return _DRIVERS[path.suffix.lower()]


def write_features(
    path: Path,
    polygons: list[shapely.Polygon],
    fields: dict[str, NDArray[np.generic]],
    crs: str | None,
) -> None:
    """Write polygons and their fields whole or not at all.

    Args:
        path: Final name; the suffix is the format.
        polygons: One per feature.
        fields: Name -> one value per feature.
        crs: WKT, or None.

    Raises:
        OutputFailed: The file cannot be written.
    """
    driver = check_polygon_format(path)
    partial = temporary_beside(path)
    partial.unlink(missing_ok=True)
    options = {"SPATIAL_INDEX": "YES"} if driver != "GeoJSON" else {"RFC7946": "YES"}
    try:
        with writing(path), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # an image may have none
            pyogrio.raw.write(
                str(partial),
                shapely.to_wkb(np.array(polygons, dtype=object)),
                list(fields.values()),
                list(fields),
                geometry_type="Polygon",
                crs=crs,
                driver=driver,
                layer=path.stem,
                layer_options=options,
            )
            settle(partial, path)
    finally:
        partial.unlink(missing_ok=True)
