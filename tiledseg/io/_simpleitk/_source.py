"""Volumes: NIfTI, NRRD, MHA and DICOM, as a `Source`."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable
from math import prod
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...errors import ConfigError, DamagedInput
from ...grid import Grid
from .._base import Source
from .._channels import choose_channels
from .._files import file_identity, writing
from ._dicom import Series, open_dicom
from ._headers import MetaHeader, check_meta, nrrd_data_files, read_meta
from ._itk import dtype_of, execute, grid_of, information
from ._nifti import NiftiHeader, check_length, is_gzip, nifti_1_copy, read_header, sform_grid
from ._raw import RawVolume

#: About as many bytes as one read should bring.
_READ_BYTES = 4 * 2**20


def open_volume(
    uri: str, series: str | None = None, channels: tuple[int | str, ...] | None = None
) -> Source:
    """Open a volume, or a folder with a DICOM series.

    Args:
        uri: A file (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .dcm) or a folder.
        series: Which series of a folder: number from 1, or UID.
        channels: Which frames or components, by number from 1 or name; None takes all.

    Raises:
        ConfigError: There is no such file, series or channel, or several series to choose from.
        DamagedInput: It is not what it claims to be.
    """
    path = Path(uri)
    if not os.path.exists(path):  # which takes names of any length
        raise ConfigError(f"there is no file {uri}")
    if path.is_dir():
        return VolumeSource(uri, _DicomFiles(open_dicom(path, series)), channels)
    if path.stat().st_size == 0:
        raise DamagedInput(f"{uri} is empty (0 bytes)")
    return VolumeSource(uri, _File(path), channels)


class _File:
    """One file, read in place where its format allows, else unpacked once into scratch space."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: NiftiHeader | None = None
        self._meta: MetaHeader | None = None
        name = path.name.lower()
        if name.endswith((".nii", ".nii.gz")):
            self.header = read_header(path)
        elif name.endswith((".mha", ".mhd")):
            self._meta = read_meta(path)
        info = self._information()
        size = info.GetSize()
        if len(size) not in (3, 4):
            raise ConfigError(f"{path} is a {len(size)}-D image; a volume has 3 axes")
        self.size = size[:3]
        self.frames = size[3] if len(size) == 4 else 1
        self.components = info.GetNumberOfComponents()
        self.names = _names(self.frames, self.components)
        self.grid = grid_of(path, self.size, info)
        self.lengths = tuple(map(float, info.GetSpacing()[2::-1]))
        if self.header is not None:
            self.grid = sform_grid(self.grid, self.header)
        self.dtype = dtype_of(path, info)
        if self.header is not None and self.header.plain is not None:
            self.dtype = _scaled_dtype(self.header)
        self._raw: RawVolume | None = None
        self._bytes = prod(self.size) * self.frames * self.components * self.dtype.itemsize

    @property
    def working_bytes(self) -> int:
        """Memory that unpacking takes for a moment: ITK's copy and numpy's.

        Plain NIfTI is read in place or gunzipped piece by piece; ITK reads boxes of MetaImage.
        """
        plain = self.header is not None and self.header.plain is not None
        return 0 if plain or self._streams else 2 * self._bytes

    def identity(self) -> dict[str, Any]:
        """Return what changes with the content."""
        identity = file_identity(self.path)
        apart = [file_identity(path) for path in self._data_files()]
        return {**identity, "data": apart} if apart else identity

    def files(self) -> list[Path]:
        """Return the file, and those its samples lie in."""
        return [self.path, *self._data_files()]

    def unpack(self, scratch: Path) -> None:
        """Make reading by box possible; done once.

        ITK crashes on a box of a NIfTI whose samples are vectors, and reads all of an NRRD for
        every box: those are read whole.
        """
        header, path = self.header, self.path
        if header is not None and is_gzip(path):
            path = scratch / "volume.nii"
            self._gunzip(path, header)
        if header is not None and header.plain is not None:
            self._raw = RawVolume(path, header.plain, self.grid.shape, int(header.offset))
            return
        if self._meta is not None:
            check_meta(self.path, self._meta, self._bytes)
        if not self._streams:
            whole = execute(path, information(path))
            whole = whole.reshape(self.frames, *self.grid.shape, self.components)
            self._raw = spill(scratch, np.moveaxis(whole, -1, 1))

    def read(self, channel: int, box: Box) -> NDArray[Any]:
        """Return the samples of one channel, box.shape."""
        if self._raw is not None:
            values = self._raw.read(channel, box)
            scaling = None if self.header is None else self.header.scaling
            if scaling is None:
                return values
            slope, inter = (self.dtype.type(number) for number in scaling)
            return np.asarray(values.astype(self.dtype) * slope + inter)
        frame, component = divmod(channel, self.components)
        reader = information(self.path)
        frame_index, frame_size = ([frame], [0]) if self.frames > 1 else ([], [])
        reader.SetExtractIndex([*box.start[::-1], *frame_index])
        reader.SetExtractSize([*box.shape[::-1], *frame_size])
        values = execute(self.path, reader)
        return np.asarray(values[..., component]) if self.components > 1 else values

    @property
    def _streams(self) -> bool:
        """Whether ITK reads a box of the file without reading all of it."""
        return self._meta is not None and not self._meta.compressed

    def _information(self) -> Any:
        if self.header is not None and self.header.version == 2:
            with tempfile.TemporaryDirectory(prefix="tiledseg-") as folder:
                return information(nifti_1_copy(self.path, Path(folder)))
        return information(self.path)

    def _data_files(self) -> list[Path]:
        if self._meta is not None:
            return [self._meta.data] if self._meta.data not in (None, self.path) else []
        return nrrd_data_files(self.path) if self.path.name.lower().endswith(".nhdr") else []

    def _gunzip(self, target: Path, header: NiftiHeader) -> None:
        with writing(target), target.open("wb") as plain:
            try:
                with gzip.open(self.path) as packed:
                    shutil.copyfileobj(packed, plain, 2**20)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DamagedInput(
                    f"{self.path} is damaged: its compressed data are cut or altered ({error})"
                ) from error
        check_length(self.path, header, target.stat().st_size)


def _scaled_dtype(header: NiftiHeader) -> np.dtype[Any]:
    """Return the dtype samples are given in: scaled integers become float32, as in ITK."""
    plain = np.dtype(header.plain).newbyteorder("=")
    if header.scaling is None or plain.kind == "f":
        return plain
    return np.dtype(np.float32)


class _DicomFiles:
    """A DICOM series, decoded once, slice by slice, into scratch space."""

    working_bytes = 0
    names = ("channel 1",)
    lengths: tuple[float, ...] | None = None

    def __init__(self, series: Series) -> None:
        self._series = series
        self.grid: Grid = series.grid
        self.dtype = series.dtype
        self._raw: RawVolume | None = None

    def identity(self) -> dict[str, Any]:
        """Return what changes with the content."""
        return {"slices": [file_identity(path) for path in self._series.files]}

    def files(self) -> list[Path]:
        """Return every slice."""
        return list(self._series.files)

    def unpack(self, scratch: Path) -> None:
        """Decode every slice; done once."""
        target = scratch / "volume.raw"
        with writing(target), target.open("wb") as file:
            for path in self._series.files:
                plane = execute(path, information(path))
                file.write(plane.astype(self.dtype, copy=False).tobytes())
        self._raw = RawVolume(target, self.dtype, self.grid.shape)

    def read(self, channel: int, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``; there is one channel."""
        if self._raw is None:
            raise RuntimeError("unpack comes before read")
        return self._raw.read(channel, box)


class VolumeSource(Source):
    """A volume in patient space (LPS, mm), array order (z, y, x).

    Geometry is what ITK and 3D Slicer show: origin, spacing and direction as SimpleITK gives them.
    Frames of a 4-D file and components of a vector image are channels.
    """

    def __init__(
        self, uri: str, stored: _File | _DicomFiles, wanted: tuple[int | str, ...] | None
    ) -> None:
        self.uri = uri
        self._stored = stored
        self._chosen = choose_channels(stored.names, wanted)
        self.channels = tuple(stored.names[i] for i in self._chosen)
        self.grid, self.dtype, self.nodata = stored.grid, stored.dtype, None
        self.lengths, self.working_bytes = stored.lengths, stored.working_bytes
        plane = prod(self.grid.shape[1:]) * self.dtype.itemsize
        slices = max(1, min(self.grid.shape[0], _READ_BYTES // plane))
        self.blocks = (slices, *self.grid.shape[1:])
        self._lock = threading.Lock()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def read(self, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``, (c, *box.shape)."""
        self._unpacked()
        read: Callable[[int, Box], NDArray[Any]] = self._stored.read
        return np.stack([read(c, box) for c in self._chosen]).astype(self.dtype, copy=False)

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return True everywhere: volume formats have no word for "not measured"."""
        return np.ones(box.shape, dtype=np.bool_)

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of the file, or of every slice."""
        return self._stored.identity()

    def files(self) -> list[Path]:
        """Return the file, or every slice."""
        return self._stored.files()

    def close(self) -> None:
        """Remove the scratch space."""
        if self._scratch is not None:
            self._scratch.cleanup()

    def _unpacked(self) -> None:
        """Unpack once; a file that cannot be unpacked fails again at every read."""
        with self._lock:
            if self._scratch is not None:
                return
            with writing(Path(tempfile.gettempdir())):
                scratch = tempfile.TemporaryDirectory(
                    prefix="tiledseg-", ignore_cleanup_errors=True
                )
            try:
                self._stored.unpack(Path(scratch.name))
            except BaseException:
                scratch.cleanup()
                raise
            self._scratch = scratch
            # Processes of multiprocessing, as Dask's workers are, end without what Python does at
            # its end, but do this.
            Finalize(scratch, shutil.rmtree, (scratch.name, True), exitpriority=0)


def spill(scratch: Path, frames: NDArray[Any]) -> RawVolume:
    """Write decoded samples, (frames, components, z, y, x), to the scratch folder."""
    target = scratch / "volume.raw"
    with writing(target), target.open("wb") as file:
        for frame in frames:
            for component in frame:
                np.ascontiguousarray(component).tofile(file)
    return RawVolume(target, frames.dtype, frames.shape[2:])


def _names(frames: int, components: int) -> tuple[str, ...]:
    if frames * components == 1:
        return ("channel 1",)
    if components == 1:
        return tuple(f"frame {i}" for i in range(1, frames + 1))
    return tuple(f"component {i}" for i in range(1, frames * components + 1))
