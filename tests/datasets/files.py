"""Files to make datasets of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio
import shapely
import SimpleITK as sitk
from PIL import Image


def write_raster(path: Path, array: np.ndarray, **profile: Any) -> Path:
    """Write (c, y, x) or (y, x) as GeoTIFF, in EPSG:32633 with samples of 2 m unless told."""
    bands = array if array.ndim == 3 else array[None]
    options = {
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(2.0, 0, 400000.0, 0, -2.0, 5000000.0),
        **profile,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=count,
        dtype=bands.dtype,
        **options,
    ) as file:
        file.write(bands)
    return path


def write_png(path: Path, array: np.ndarray, palette: list[int] | None = None) -> Path:
    """Write (y, x) or (y, x, 3) uint8, with a palette if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette is not None:
        image = image.convert("P") if image.mode != "L" else image
        image.putpalette(palette)
    image.save(path)
    return path


def write_volume(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1, 1, 1)) -> Path:
    """Write (z, y, x); spacing is (x, y, z)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def write_polygons(
    path: Path, shapes: list[Any], crs: str | None = "EPSG:32633", **fields: Any
) -> Path:
    """Write polygons with fields of one value each."""
    wkb = shapely.to_wkb(np.array(shapes, dtype=object))
    values = [np.array(v, dtype=object if isinstance(v[0], str) else None) for v in fields.values()]
    pyogrio.raw.write(str(path), wkb, values, list(fields), geometry_type="Polygon", crs=crs)
    return path
