"""Zarr arrays, format 2 and 3; the only door to zarr."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.errors import ContainsArrayError
from zarr.storage import ObjectStore, StorePath

from ..box import Box
from ..errors import ConfigError, DamagedInput, OutputFailed
from ..grid import Grid
from ..labels import ClassSchema
from ._base import Sink, SinkSpec, Source
from ._channels import choose_channels
from ._files import ArrayPlace, temporary_beside, to_disk, writing
from ._memory import Dims, differs_from, numeric_dtype

_GRID, _CLASSES, _NODATA, _SCALE = "tiledseg_grid", "tiledseg_classes", "nodata", "scale"
_NODATAS = ("_FillValue", _NODATA, "missing_value")
#: What the codecs raise on chunks they cannot decode.
_UNREADABLE = (ValueError, RuntimeError, OSError, KeyError, EOFError, zlib.error)
#: How often a folder is removed in which something may yet be written, and seconds after each time.
_TRIES, _LATE = 50, 0.1


def open_zarr(
    uri: str | Any, dims: Dims | None, channels: tuple[int | str, ...] | None = None
) -> Source:
    """Open a Zarr array, by path (``store.zarr`` or ``store.zarr/array``) or as an object.

    Raises:
        ConfigError: There is no array, a group instead of one, or axes that are not an image's.
        DamagedInput: The array's own description cannot be read.
    """
    array = _open(uri) if isinstance(uri, str) else uri
    return ZarrSource(array, dims, channels, str(uri) if isinstance(uri, str) else "zarr array")


def _open(uri: str) -> Any:
    try:
        found = zarr.open(uri, mode="r")
    except FileNotFoundError:
        raise ConfigError(f"there is no Zarr array at {uri}") from None
    except ImportError as error:
        raise ConfigError(f"{uri} cannot be reached: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise DamagedInput(f"{uri} cannot be opened as Zarr: {error}") from error
    if isinstance(found, zarr.Group):
        names = ", ".join(sorted(name for name, _ in found.arrays())) or "none"
        raise ConfigError(f"{uri} is a Zarr group; name one of its arrays: {names}")
    return found


class ZarrSource(Source):
    """A Zarr array: (*spatial), or channels first.

    Only attributes declare nodata (``_FillValue``, ``nodata`` or ``missing_value``); Zarr's own
    fill value is what unwritten chunks hold, not a statement about the data.
    """

    def __init__(
        self, array: Any, dims: Dims | None, wanted: tuple[int | str, ...] | None, uri: str
    ) -> None:
        attributes = dict(array.attrs)
        grid = _described_grid(attributes, uri)
        if grid is not None:
            dims = 2 if grid.ndim == 2 else 3  # it was written as an image of so many axes
        spatial = dims or (array.ndim if array.ndim < 4 else 3)
        if array.ndim not in (spatial, spatial + 1) or 0 in array.shape:
            raise ConfigError(
                f"{uri} of shape {array.shape} is not a {spatial}-D image: expected {spatial} "
                f"axes, or channels first and {spatial} axes, none of them empty"
            )
        self._array, self._bare = array, array.ndim == spatial
        count = 1 if self._bare else int(array.shape[0])
        names = tuple(f"channel {i}" for i in range(1, count + 1))
        named = attributes.get("channels")
        if isinstance(named, list) and len(named) == count:
            names = tuple(map(str, named))
        self._chosen = choose_channels(names, wanted)
        self.uri = uri
        self.channels = tuple(names[i] for i in self._chosen)
        self.dtype = numeric_dtype(array.dtype, uri)
        self.nodata = _declared(attributes, uri, *_NODATAS)
        self.scale = None if grid is None else _declared(attributes, uri, _SCALE)
        unit = (getattr(array, "shards", None) or array.chunks)[-spatial:]
        self.blocks = tuple(int(n) for n in unit)
        shape = tuple(int(n) for n in array.shape[-spatial:])
        self.grid = grid or Grid.local(shape)
        if self.grid.shape != shape:
            raise DamagedInput(
                f"{uri} is damaged: it holds {shape} samples, its grid is of {self.grid.shape}"
            )

    def read(self, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``, (c, *box.shape)."""
        try:
            if self._bare:
                return np.asarray(self._array[box.slices], dtype=self.dtype)[np.newaxis]
            parts = [np.asarray(self._array[(i, *box.slices)]) for i in self._chosen]
        except _UNREADABLE as error:
            raise DamagedInput(
                f"{self.uri} is damaged: {box.start} to {box.stop} cannot be read ({error})"
            ) from error
        return np.stack(parts).astype(self.dtype, copy=False)

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where any channel differs from the declared nodata value."""
        if self.nodata is None:
            return np.ones(box.shape, dtype=np.bool_)
        return differs_from(self.read(box), self.nodata)

    def fingerprint(self) -> dict[str, Any]:
        """Return names, sizes and times of the stored files; the shape where there are none."""
        shape = {"shape": list(self._array.shape), "dtype": str(self.dtype)}
        folders = self.files()
        if not folders:
            return {"uri": self.uri, **shape}
        digest = hashlib.sha256()
        for file in sorted(folders[0].rglob("*")):
            if file.is_file():
                status = file.stat()
                digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return {"files": digest.hexdigest(), **shape}

    def files(self) -> list[Path]:
        """Return the folder of the array, where it lies in one."""
        root = getattr(self._array.store, "root", None)
        return [] if root is None else [Path(root, self._array.path)]


def _described_grid(attributes: dict[str, Any], uri: str) -> Grid | None:
    if _GRID not in attributes:
        return None
    try:
        return Grid.from_dict(attributes[_GRID])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedInput(f"{uri} is damaged: its grid cannot be understood ({error})") from error


def _declared(attributes: dict[str, Any], uri: str, *keys: str) -> float | None:
    for key in keys:
        if attributes.get(key) is not None:
            try:
                return _number(attributes[key])
            except (ValueError, TypeError, struct.error):
                raise DamagedInput(
                    f"{uri} declares {key} {attributes[key]!r}, which is not a number"
                ) from None
    return None


def _number(value: Any) -> float:
    """Return a number written as such, or as xarray codes float fill values in Zarr format 3."""
    try:
        return float(value)
    except ValueError:
        (number,) = struct.unpack("<d", base64.b64decode(value, validate=True))
        return float(number)


class ZarrSink(Sink):
    """A Zarr v3 array at the root of a folder, with grid, classes and nodata as attributes.

    Raises:
        OutputFailed: There is something under that name that no sink made.
    """

    def __init__(self, path: Path, spec: SinkSpec) -> None:
        super().__init__(path, spec)
        if os.path.lexists(path) and not _is_own(path):
            raise OutputFailed(
                f"{path} would be replaced, and is no array that tiledseg wrote; move it, or "
                "choose another output"
            )

    def prepare(self) -> None:
        """Create the array under a temporary name."""
        spec = self.spec
        self._folder = temporary_beside(self.path)
        lead = () if len(spec.bands) == 1 else (len(spec.bands),)
        edge = 1024 if spec.grid.ndim == 2 else 128
        chunks = tuple(min(n, edge) for n in spec.grid.shape)
        with writing(self.path):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._array = create_array(
                self._folder,
                shape=(*lead, *spec.grid.shape),
                chunks=(*(1 for _ in lead), *chunks),
                dtype=spec.dtype,
                fill_value=spec.nodata,
            )
            self._array.attrs.update(self._attributes())

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Store rows."""
        with writing(self.path):
            if len(self.spec.bands) == 1:
                self._array[box.slices] = values[0]
            else:
                self._array[(slice(None), *box.slices)] = values

    def commit(self) -> list[Path]:
        """Rename into place; an older array there is replaced."""
        with writing(self.path):
            to_disk(self._folder)
            shutil.rmtree(self.path, ignore_errors=True)
            self._folder.replace(self.path)
        return [self.path]

    def abort(self) -> None:
        """Remove the temporary folder, until it stays away."""
        folder = temporary_beside(self.path)
        for _ in range(_TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(_LATE)  # where one chunk fails, zarr goes on with those it has begun
            if not folder.exists():
                return

    def _attributes(self) -> dict[str, Any]:
        spec = self.spec
        values: dict[str, Any] = {_GRID: spec.grid.to_dict(), "channels": list(spec.bands)}
        if spec.nodata is not None:  # JSON has no word for NaN
            values[_NODATA] = "NaN" if np.isnan(spec.nodata) else spec.nodata
        if spec.scale is not None:
            values[_SCALE] = spec.scale
        if spec.schema is not None:
            values[_CLASSES] = spec.schema.to_dict()
        return values


def _is_own(path: Path) -> bool:
    """Return whether a sink made the array at ``path``, or there is only an empty folder."""
    if path.is_dir() and not any(path.iterdir()):
        return True
    try:
        described = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        return described["node_type"] == "array" and _GRID in described["attributes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def read_schema(path: Path) -> ClassSchema | None:
    """Return the classes a class map was written with, or None."""
    described = dict(_open(str(path)).attrs).get(_CLASSES)
    return None if described is None else ClassSchema.from_file(described)


def create_array(
    place: Path | ArrayPlace,
    *,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype[Any],
    fill_value: float | None,
) -> Any:
    """Create a Zarr v3 array on a disk or an object store; fails where one is already.

    Chunks are written to a temporary file and renamed by zarr itself, or put, so a killed process
    leaves whole chunks only.

    Raises:
        FileExistsError: There is one already.
    """
    try:
        return zarr.create_array(
            store=_place(place),
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            fill_value=fill_value,
            compressors=ZstdCodec(level=1),
            zarr_format=3,
        )
    except ContainsArrayError as error:
        raise FileExistsError(str(error)) from error


def open_array(place: Path | ArrayPlace, *, writable: bool) -> Any:
    """Open an array that `create_array` made.

    Raises:
        FileNotFoundError: There is none.
        DamagedInput: Its description cannot be understood.
    """
    try:
        return zarr.open_array(_place(place), mode="r+" if writable else "r")
    except FileNotFoundError:
        raise
    except (*_UNREADABLE, TypeError, AttributeError) as error:
        raise DamagedInput(f"the array at {place} cannot be opened: {error}") from error


def _place(place: Path | ArrayPlace) -> Any:
    if isinstance(place, Path):
        return str(place)
    if isinstance(place.store, Path):
        return str(place.store / place.name)
    return StorePath(ObjectStore(place.store), place.name)
