"""Anything GDAL reads, as a `Source`."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import from_gcps
from rasterio.windows import Window

from ...box import Box
from ...errors import ConfigError, DamagedInput, TiledsegError
from ...grid import LOCAL, ControlPoint, Grid, Space, SpaceKind
from .._base import Source, centred_picks
from .._channels import choose_channels
from .._files import file_identity, silenced

#: GDAL keeps decoded blocks up to this; its own default is 5 % of the machine's memory.
CACHE_BYTES = 64 * 2**20
#: A header may claim any size; a block this large is damage, not an image.
_LARGEST_BLOCK = 2**31
_MOST_BANDS = 10_000


def open_raster(uri: str, channels: tuple[int | str, ...] | None = None) -> Source:
    """Open a raster.

    Args:
        uri: Anything GDAL opens: a path, ``/vsi...``, ``s3://...``, ``https://...``.
        channels: Band numbers (from 1) or descriptions; None takes every band but alpha.

    Raises:
        ConfigError: There is no such file or band, or the file is a container of several images.
        DamagedInput: GDAL cannot make sense of the file.
    """
    return RasterSource(uri, channels)


class RasterSource(Source):
    """A raster behind GDAL.

    Bands are named by their description, else ``band 1`` and so on. An alpha band is validity, not
    a channel, unless asked for by number. A paletted band gives its indices.
    """

    working_bytes = CACHE_BYTES

    def __init__(self, uri: str, channels: tuple[int | str, ...] | None) -> None:
        self.uri = uri
        self._lock = threading.Lock()
        self._file = _open(uri)
        try:
            self._describe(channels)
        except TiledsegError:
            self._file.close()
            raise
        except Exception as error:  # a damaged header comes out as anything, UnicodeError included
            self._file.close()
            raise DamagedInput(f"{uri} cannot be opened as a raster: {reason(error)}") from error

    def _describe(self, channels: tuple[int | str, ...] | None) -> None:
        file, uri = self._file, self.uri
        if file.count == 0:
            inside = ", ".join(file.subdatasets[:20]) or "nothing"
            raise ConfigError(f"{uri} holds no bands itself; name one of its images: {inside}")
        if file.count > _MOST_BANDS:
            raise DamagedInput(f"{uri} claims {file.count} bands, at most {_MOST_BANDS} are read")
        names = tuple(d or f"band {i}" for i, d in enumerate(file.descriptions, 1))
        kept = [i for i, c in enumerate(file.colorinterp) if c != ColorInterp.alpha]
        if channels is None:
            chosen = tuple(kept) or tuple(range(file.count))
        else:
            chosen = choose_channels(names, channels)
        dtypes, flags = file.dtypes, file.mask_flag_enums  # made anew for all bands at every access
        scalings = list(zip(file.scales, file.offsets, strict=True))
        self._bands = [i + 1 for i in chosen]
        self.channels = tuple(names[i] for i in chosen)
        self.dtype = _common_dtype(uri, [dtypes[i] for i in chosen])
        self.nodata = file.nodatavals[chosen[0]]
        scale, offset = scalings[chosen[0]]
        if scale != 1 and offset == 0 and all(scalings[i] == (scale, 0) for i in chosen):
            self.scale = scale
        rows, columns = file.block_shapes[chosen[0]]
        if rows * columns * self.dtype.itemsize > _LARGEST_BLOCK:
            raise DamagedInput(f"{uri} claims blocks of {rows} x {columns} samples: it is damaged")
        self.blocks = (rows, columns)
        self.grid = _grid(file, uri)
        told = [i for i in chosen if i in kept] or list(chosen)  # alpha's own mask says nothing
        self._masks = [i + 1 for i in told]
        if len(chosen) == 1 and file.colorinterp[chosen[0]] == ColorInterp.palette:
            self.palette = _palette(file.colormap(chosen[0] + 1))
        self._all_valid = any(MaskFlags.all_valid in flags[i] for i in told)

    def read(self, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``, (c, *box.shape)."""
        return self._read(box, lambda window: self._file.read(self._bands, window=window)).astype(
            self.dtype, copy=False
        )

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where any chosen band was measured: mask band, alpha or declared nodata."""
        if self._all_valid:
            return np.ones(box.shape, dtype=np.bool_)
        masks = self._read(box, lambda window: self._file.read_masks(self._masks, window=window))
        return np.asarray(masks.any(axis=0))

    def overview(self, limit: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pick samples through the file's own overviews where the image is large."""
        shape = tuple(len(centred_picks(n, limit)) for n in self.grid.shape)
        if not self._file.overviews(self._bands[0]) or shape == self.grid.shape:
            return super().overview(limit)

        def decimated(window: Window) -> NDArray[Any]:
            out_shape = (len(self._bands), *shape)
            return np.asarray(
                self._file.read(self._bands, out_shape=out_shape, resampling=Resampling.nearest)
            )

        values = self._read(self.grid.box, decimated).astype(self.dtype, copy=False)
        if self._all_valid:
            return values, np.ones(shape, dtype=np.bool_)
        masks = self._read(
            self.grid.box,
            lambda window: self._file.read_masks(self._masks, out_shape=(len(self._masks), *shape)),
        )
        return values, np.asarray(masks.any(axis=0))

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of every file the raster is made of."""
        files = self.files()
        if not files:
            return {"uri": self.uri, "shape": list(self.grid.shape)}
        return {"files": [file_identity(f) for f in sorted(files)]}

    def files(self) -> list[Path]:
        """Return the local files of the dataset, those that a VRT reads included."""
        return [Path(f) for f in self._file.files if os.path.isfile(f)]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, box: Box, action: Any) -> NDArray[Any]:
        (top, left), (rows, columns) = box.start, box.shape
        try:
            with self._lock:  # a GDAL dataset serves one thread at a time
                result: NDArray[Any] = action(Window(left, top, columns, rows))
        except (RasterioError, OSError, ValueError) as error:
            raise DamagedInput(
                f"{self.uri} is damaged: rows {box.start[0]} to {box.stop[0]}, columns "
                f"{box.start[1]} to {box.stop[1]} cannot be read ({reason(error)})"
            ) from error
        return result


def _palette(colors: dict[int, tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    """Return the colours of a palette by index; indices it does not name are black."""
    table = np.zeros((1 + max(255, *colors), 3), np.uint8)
    for index, color in colors.items():
        table[index] = color[:3]
    return table


def keep_cache_small() -> None:
    """Set the limit of GDAL's cache for all threads; GDAL asks for it when it first needs it."""
    os.environ.setdefault("GDAL_CACHEMAX", str(CACHE_BYTES // 2**20))


def open_quietly(path: str | Path, *mode: str, **options: Any) -> Any:
    """Open a raster; rasterio would warn of images without a reference."""
    with silenced(category=NotGeoreferencedWarning):
        return rasterio.open(path, *mode, **options)


def _open(uri: str) -> rasterio.DatasetReader:
    keep_cache_small()
    if "://" not in uri and not uri.startswith("/vsi") and ":" not in uri:
        if not os.path.exists(uri):  # which takes names of any length
            raise ConfigError(f"there is no file {uri}")
        if Path(uri).is_file() and Path(uri).stat().st_size == 0:
            raise DamagedInput(f"{uri} is empty (0 bytes)")
    try:
        return open_quietly(uri)
    except (RasterioError, OSError, ValueError) as error:
        raise DamagedInput(f"{uri} cannot be opened as a raster: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return what GDAL says, from the deepest cause, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200]


def _common_dtype(uri: str, dtypes: list[str]) -> np.dtype[Any]:
    kinds = []
    for name in dtypes:
        if name.startswith("complex"):
            raise ConfigError(
                f"{uri} has complex samples ({name}); convert them to amplitude first"
            )
        kinds.append(np.dtype(name))
    return np.result_type(*kinds)


def _grid(file: rasterio.DatasetReader, uri: str) -> Grid:
    points, crs = file.gcps
    placed = file.crs is not None and not file.transform.is_identity
    try:
        if points and crs is not None and not placed:
            fitted = Grid.from_matrix(file.shape, _matrix(from_gcps(points)), _space(crs))
            control = tuple(ControlPoint(p.row, p.col, p.x, p.y, p.z or 0.0) for p in points)
            return replace(fitted, control=control)
        space = LOCAL if file.crs is None else _space(file.crs)
        return Grid.from_matrix(file.shape, _matrix(file.transform), space)
    except ConfigError as error:
        raise DamagedInput(f"{uri} has no usable georeference: {error}") from error


def _matrix(transform: Any) -> NDArray[np.float64]:
    return np.array(transform, dtype=np.float64).reshape(3, 3)


def _space(crs: Any) -> Space:
    wkt = crs.to_wkt()
    if crs.is_geographic:
        return Space(SpaceKind.GEOGRAPHIC, wkt)
    if not crs.is_projected:  # engineering, geocentric: no plane to measure in
        return Space(SpaceKind.LOCAL, wkt)
    return Space(SpaceKind.PROJECTED, wkt, float(crs.linear_units_factor[1]))
