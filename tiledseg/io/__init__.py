"""Images in, results out: what to open or make is told by the name, and loaded when needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ._base import Sink, SinkSpec, Source, centred_picks, read_padded
from ._crop import CroppedSink, CroppedSource, FramedSource
from ._derived import DerivedSource
from ._files import (
    remove,
    require_own,
    require_place,
    settle,
    silenced,
    temporary_beside,
    to_disk,
    write_bytes,
    write_text,
    writing,
)
from ._fitting import Overview, decimated, fit_to
from ._folder import Folder, open_folder
from ._held import HeldMap
from ._kinds import create_sink, is_zarr, open_source, read_schema, sidecars
from ._ledger import Entry, Ledger
from ._memory import MemorySink, MemorySource
from ._nodata import NodataSource
from ._nonzero import FilledMask, extremes, nonzero_box
from ._normalized import NormalizedSource
from ._orient import OrientedSink, OrientedSource, axes_to, oriented
from ._png import PNG_LARGEST, IdPngSink
from ._polygons import VERTEX_BYTES, PlacedPolygons, around_the_world, moved_to
from ._previous import MarkedSource, OneHotSource, PreviousSource
from ._resampled import ResampledSource
from ._roi import BoxRoi, MaskRoi, PolygonRoi, Roi
from ._scratch import Scratch
from ._stack import StackedSource
from ._touched import raise_touched
from ._whole import Cropped

__all__ = [
    "PNG_LARGEST",
    "VERTEX_BYTES",
    "BoxRoi",
    "Cropped",
    "CroppedSink",
    "CroppedSource",
    "DerivedSource",
    "Entry",
    "FilledMask",
    "Folder",
    "FramedSource",
    "HeldMap",
    "IdPngSink",
    "Ledger",
    "MarkedSource",
    "MaskRoi",
    "MemorySink",
    "MemorySource",
    "NodataSource",
    "NormalizedSource",
    "OneHotSource",
    "OrientedSink",
    "OrientedSource",
    "Overview",
    "PlacedPolygons",
    "PolygonRoi",
    "PreviousSource",
    "ResampledSource",
    "Roi",
    "Scratch",
    "Sink",
    "SinkSpec",
    "Source",
    "StackedSource",
    "around_the_world",
    "as_dask",
    "axes_to",
    "burn_values",
    "centred_picks",
    "create_array",
    "create_sink",
    "decimated",
    "extremes",
    "find_series",
    "fit_to",
    "is_zarr",
    "moved_to",
    "nonzero_box",
    "open_array",
    "open_folder",
    "open_source",
    "oriented",
    "raise_touched",
    "read_padded",
    "read_schema",
    "remove",
    "reproject",
    "reproject_owned",
    "require_own",
    "require_place",
    "settle",
    "sidecars",
    "silenced",
    "temporary_beside",
    "to_disk",
    "write_bytes",
    "write_text",
    "writing",
]

#: Names that live behind a heavy library, and the module that imports it.
_LAZY = {
    "as_dask": "._dask",
    "burn_values": "._rasterio",
    "create_array": "._zarr",
    "find_series": "._simpleitk",
    "open_array": "._zarr",
    "reproject": "._rasterio",
    "reproject_owned": "._rasterio",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tiledseg.io' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
