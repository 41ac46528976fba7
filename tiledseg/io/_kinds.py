"""What opens an image or makes a result: its kind, told by its name or by what it can do.

The module that knows a kind is loaded when there is one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..document import require_plain
from ..errors import ConfigError, UnknownFormat
from ..labels import ClassSchema
from ._base import Sink, SinkSpec, Source
from ._files import require_place
from ._memory import MemorySource, channels_first, xarray_parts
from ._qml import qml_path
from ._stack import StackedSource

_VOLUMES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
_VOLUME_SINKS = (".nii.gz", ".nii", ".nrrd", ".mha")
_RASTER_SINKS = (".tif", ".tiff")


def open_source(
    image: Any,
    *,
    channels: tuple[int | str, ...] | None = None,
    series: str | None = None,
    dims: Literal[2, 3] | None = None,
) -> Source:
    """Open an image.

    Args:
        image: A file, folder or URL; a list of those, stacked as channels; a numpy, dask or Zarr
            array or an xarray DataArray (channels first where there are several); a `Source`.
        channels: Which channels, by number from 1 or name; None takes all.
        series: For a DICOM folder with several series, which one.
        dims: Spatial axes, where an array could be read either way.

    Raises:
        ConfigError: There is no such image or channel.
        DamagedInput: The image is not what it claims to be.
        GridMismatch: Stacked images do not share a grid.
    """
    if series is not None and not (isinstance(image, list | tuple) or _is_folder(image)):
        told = image if isinstance(image, str | Path) else type(image).__name__
        raise ConfigError(
            f"series {series!r:.80}: {told} is no folder of DICOM series; leave it out"
        )
    if isinstance(image, Source):
        if channels is not None:
            raise ConfigError(
                f"channels of {image.uri} cannot be chosen any more: it is open; choose them with "
                "open_source"
            )
        return image
    if isinstance(image, list | tuple):
        if not image:
            raise ConfigError("no image was given")
        if len(image) > 1:
            return _stack(list(image), channels, series, dims)
        return open_source(image[0], channels=channels, series=series, dims=dims)
    if isinstance(image, str | Path):
        return _open_path(os.fspath(image), channels, series, dims)
    return _open_array(image, channels, dims or 2)


def _stack(
    images: list[Any],
    channels: tuple[int | str, ...] | None,
    series: str | None,
    dims: Literal[2, 3] | None,
) -> Source:
    if channels is not None:
        raise ConfigError(
            "channels cannot be chosen from several images at once; give only the images to stack"
        )
    return StackedSource([open_source(image, series=series, dims=dims) for image in images])


def _open_path(
    uri: str,
    channels: tuple[int | str, ...] | None,
    series: str | None,
    dims: Literal[2, 3] | None,
) -> Source:
    require_plain(uri)
    lower = uri.lower()
    if is_zarr(uri):
        from ._zarr import open_zarr

        return open_zarr(uri, dims, channels)
    if lower.endswith(_VOLUMES) or (os.path.isdir(uri) and "://" not in uri):
        from ._simpleitk import open_volume

        return open_volume(uri, series=series, channels=channels)
    from ._rasterio import open_raster

    return open_raster(uri, channels)


def _is_folder(image: Any) -> bool:
    return isinstance(image, str | Path) and os.path.isdir(image) and not is_zarr(str(image))


def is_zarr(uri: str) -> bool:
    """Whether a name is that of a Zarr store, or of something in one."""
    if any(part.endswith(".zarr") for part in uri.lower().split("/")):
        return True
    return any(
        os.path.isfile(os.path.join(uri, name)) for name in ("zarr.json", ".zarray", ".zgroup")
    )


def _open_array(image: Any, channels: tuple[int | str, ...] | None, dims: Literal[2, 3]) -> Source:
    """Open an object by what it can do; none of these libraries is imported to ask."""
    if hasattr(image, "data_vars"):
        raise ConfigError(
            f"{type(image).__name__} is not one image: give one of its variables "
            f"({', '.join(map(str, image.data_vars)):.80})"
        )
    if hasattr(image, "dims") and hasattr(image, "coords"):
        parts = xarray_parts(image, dims)
        if hasattr(parts["array"], "dask"):
            from ._dask import DaskSource

            return DaskSource(**parts, wanted=channels)
        return MemorySource(**parts, wanted=channels)
    if hasattr(image, "dask") and hasattr(image, "chunks"):
        from ._dask import DaskSource

        return DaskSource(channels_first(image, dims, "dask array"), wanted=channels)
    if hasattr(image, "store") and hasattr(image, "chunks"):
        from ._zarr import open_zarr

        return open_zarr(image, dims, channels)
    if hasattr(image, "__array__"):
        return MemorySource(channels_first(_as_numpy(image), dims, "array"), wanted=channels)
    raise ConfigError(f"{type(image).__name__} is not an image: give a path, a list or an array")


def _as_numpy(image: Any) -> Any:
    """Return an array as numpy's; a masked array stays one.

    Raises:
        ConfigError: Its library refuses.
    """
    try:
        return image if isinstance(image, np.ma.MaskedArray) else np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{type(image).__name__} cannot be read as a numpy array: "
            f"{' '.join(str(error).split())[:200]}"
        ) from None


def create_sink(
    path: Path, spec: SinkSpec, layout: Literal["cog", "gtiff"] = "cog", threads: int = 1
) -> Sink:
    """Return the unprepared sink for a file name.

    Args:
        path: Final name; the suffix is the format.
        spec: What will be written.
        layout: For GeoTIFF.
        threads: Threads that may compress; the bytes do not depend on them.

    Raises:
        UnknownFormat: No sink writes this suffix.
        ConfigError: The format does not hold images of this many axes.
        OutputFailed: The folder is not there, cannot be written or has no room.
    """
    name = path.name.lower()
    known = (*_RASTER_SINKS, *_VOLUME_SINKS, ".zarr")
    if not name.endswith(known):
        raise UnknownFormat(f"cannot write {path}: known suffixes are {', '.join(known)}")
    fits = _RASTER_SINKS if spec.grid.ndim == 3 else _VOLUME_SINKS
    if name.endswith(fits):
        better = ", ".join(_VOLUME_SINKS if spec.grid.ndim == 3 else _RASTER_SINKS)
        raise ConfigError(
            f"cannot write a {spec.grid.ndim}-D image to {path}; take {better} or .zarr"
        )
    require_place(path)
    if name.endswith(_RASTER_SINKS):
        from ._rasterio import RasterSink

        return RasterSink(path, spec, layout, threads)
    if name.endswith(_VOLUME_SINKS):
        from ._simpleitk import VolumeSink

        return VolumeSink(path, spec, threads)
    from ._zarr import ZarrSink

    return ZarrSink(path, spec)


def sidecars(path: Path) -> tuple[Path, ...]:
    """Return the files that are written beside a class map: its style, its classes."""
    if path.name.lower().endswith(_RASTER_SINKS):
        return (qml_path(path),)
    for suffix in _VOLUME_SINKS:
        if path.name.lower().endswith(suffix):
            stem = path.name[: -len(suffix)]
            return (path.with_name(f"{stem}.ctbl"), path.with_name(f"{stem}.json"))
    return ()


def read_schema(path: str | Path) -> ClassSchema | None:
    """Return the classes a class map was written with, or None where it names none."""
    lower = str(path).lower()
    if is_zarr(str(path)):
        from ._zarr import read_schema as read
    elif lower.endswith(_VOLUMES) or Path(path).is_dir():
        from ._simpleitk import read_schema as read
    else:
        from ._rasterio import read_schema as read
    return read(Path(path))
