"""Rasters through GDAL: the only door to rasterio."""

from __future__ import annotations

from ._shapes import burn, burn_values, reproject, reproject_owned
from ._sink import RasterSink, read_schema
from ._source import RasterSource, open_raster

__all__ = [
    "RasterSink",
    "RasterSource",
    "burn",
    "burn_values",
    "open_raster",
    "read_schema",
    "reproject",
    "reproject_owned",
]
