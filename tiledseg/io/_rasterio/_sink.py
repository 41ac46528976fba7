"""Class maps and scores as GeoTIFF: cloud optimised or plain."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.transform import Affine
from rasterio.windows import Window

from ...box import Box
from ...errors import OutputFailed, TiledsegError
from ...grid import SpaceKind
from ...labels import ClassSchema
from .._base import Sink, SinkSpec
from .._files import remove, require_own, settle, temporary_beside
from .._qml import OPENING, qml_path, write_qml
from ._source import keep_cache_small, open_quietly, reason

_TAG = "TILEDSEG_CLASSES"
_BLOCK = 512
#: Deflate's; its own choice, 6, takes three times as long for 4 % less.
_LEVEL = 3


class RasterSink(Sink):
    """A GeoTIFF; class maps carry palette, nodata, class names and a QGIS style beside them.

    Args:
        path: Final name.
        spec: What comes.
        layout: ``cog`` adds overviews (by mode for class maps) and puts them in reading order.
        threads: Threads of GDAL that compress and make overviews; the bytes do not depend on them.

    Raises:
        OutputFailed: The style beside it was not written by tiledseg.
    """

    def __init__(
        self, path: Path, spec: SinkSpec, layout: Literal["cog", "gtiff"], threads: int = 1
    ) -> None:
        super().__init__(path, spec)
        self._threads = threads
        if spec.schema is not None:
            require_own(qml_path(path), OPENING)
        self._layout = layout
        self._tiled = temporary_beside(path.with_name(f"tiled.{path.name}"))
        self._ready = temporary_beside(path)
        self._file: Any = None

    def prepare(self) -> None:
        """Create the temporary GeoTIFF."""
        keep_cache_small()
        spec, grid = self.spec, self.spec.grid
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "height": grid.shape[0],
            "width": grid.shape[1],
            "count": len(spec.bands),
            "dtype": spec.dtype.name,
            "nodata": spec.nodata,
            "tiled": True,
            "blockxsize": _BLOCK,
            "blockysize": _BLOCK,
            "compress": "deflate",
            "zlevel": _LEVEL,
            "interleave": "band",
            "bigtiff": "if_safer",
            "num_threads": self._threads,
        }
        if spec.schema is None:
            profile["predictor"] = 3 if spec.dtype.kind == "f" else 2
        if spec.scale is not None:  # GDAL takes three or four bands of bytes for colours
            profile["photometric"] = "minisblack"
        if grid.space.crs is not None and not grid.control:
            profile["crs"] = grid.space.crs
        if not grid.control and (
            grid.space.kind is not SpaceKind.LOCAL or _has_transform(grid.matrix)
        ):
            profile["transform"] = Affine(*grid.matrix[:2].ravel().tolist())
        with _writing(self.path):
            for leftover in (self._tiled, self._ready):  # a link is not followed
                leftover.unlink(missing_ok=True)
            self._file = open_quietly(self._tiled, "w", **profile)
            self._describe()

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Store rows."""
        (top, left), (rows, columns) = box.start, box.shape
        with _writing(self.path):
            self._file.write(values, window=Window(left, top, columns, rows))

    def commit(self) -> list[Path]:
        """Close, arrange, rename; write the QGIS style of a class map."""
        with _writing(self.path):
            self._close()
            _check_whole(self._tiled)
            if self._layout == "cog":
                self._copy_cog()
                _check_whole(self._ready)
                self._tiled.unlink()
            else:
                self._tiled.replace(self._ready)
            settle(self._ready, self.path)
        made = [self.path]
        if self.spec.schema is not None:
            made.append(write_qml(self.path, self.spec.schema))
        return made

    def abort(self) -> None:
        """Remove the temporary files."""
        with suppress(RasterioError, OSError):
            self._close()
        for leftover in (self._tiled, self._ready):
            remove(leftover)

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _copy_cog(self) -> None:
        average = Resampling.mode if self.spec.schema is not None else Resampling.average
        options = {
            "driver": "COG",
            "compress": "deflate",
            "level": _LEVEL,
            "blocksize": _BLOCK,
            "overview_resampling": average.name,
            "bigtiff": "if_safer",
            "num_threads": self._threads,
        }
        if self.spec.schema is None:
            options["predictor"] = "yes"
        copy(self._tiled, self._ready, **options)

    def _describe(self) -> None:
        spec, file = self.spec, self._file
        for number, name in enumerate(spec.bands, 1):
            file.set_band_description(number, name)
        if spec.scale is not None:
            file.scales = [spec.scale] * len(spec.bands)
        if spec.grid.control:
            points = [GroundControlPoint(p.row, p.column, p.x, p.y, p.z) for p in spec.grid.control]
            file.gcps = (points, spec.grid.space.crs)
        if spec.schema is not None:
            file.update_tags(**{_TAG: json.dumps(spec.schema.to_dict())})
            file.colorinterp = [ColorInterp.palette]
            colors = {c.id: (*c.color, 255) for c in spec.schema.unique}
            if spec.nodata is not None:
                colors[int(spec.nodata)] = (0, 0, 0, 0)
            file.write_colormap(1, colors)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong into `OutputFailed`; GDAL seldom says why, so the room left is told."""
    try:
        yield
    except TiledsegError:
        raise
    except Exception as error:  # `copy` lets SystemError and nameless classes of rasterio out
        folder, told = path.parent, getattr(error, "strerror", None)
        if told is None and folder.is_dir():
            free = shutil.disk_usage(folder).free / 2**20
            told = f"{free:.1f} MiB are free in {folder}, GDAL says: {reason(error)}"
        raise OutputFailed(
            f"cannot write {path}: {told or reason(error)}; "
            "mend that and run the same command again to go on"
        ) from error


def _check_whole(path: Path) -> None:
    """Read a finished file through: GDAL is silent about a disk that fills up while it closes."""
    with open_quietly(path) as file:
        levels = len(file.overviews(1))
        _check_blocks(file)
    for level in range(levels):
        with open_quietly(path, overview_level=level) as file:
            _check_blocks(file)


def _check_blocks(file: Any) -> None:
    for (row, column), window in file.block_windows(1):
        for band in file.indexes:
            if file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is None:
                raise OSError(f"rows from {window.row_off} are missing in what was written")
        file.read(window=window)


def _has_transform(matrix: NDArray[Any]) -> bool:
    return not np.array_equal(matrix, np.eye(3))


def read_schema(path: Path) -> ClassSchema | None:
    """Return the classes a class map was written with, or None."""
    try:
        with open_quietly(path) as file:
            text = file.tags().get(_TAG)
        return None if text is None else ClassSchema.from_file(json.loads(text))
    except (RasterioError, ValueError, RecursionError):
        return None
