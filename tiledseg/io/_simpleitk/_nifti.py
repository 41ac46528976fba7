"""What a NIfTI header must keep, checked before ITK reads it.

ITK (SimpleITK 2.5.7) silently accepts headers that describe no image, or another one: a size of
the header that is wrong, an empty axis (read as 1), missing data (read as 0), an affine of NaN. It
turns NaN samples into 0, and adds ``scl_inter`` where ``scl_slope`` is 0, which the standard says
means "not scaled". So geometry comes from ITK, samples of the plain datatypes come from the file.
Field offsets are those of nifti1.h and nifti2.h (https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from math import isfinite, prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError, DamagedInput
from ...grid import Grid
from .._files import writing

#: Bytes per sample of every datatype code.
_SAMPLE_BYTES = {
    2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8,
    1536: 16, 1792: 16, 2048: 32, 2304: 4,
}  # fmt: skip
#: numpy's word for the datatype codes that are plain numbers.
_PLAIN = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
          1024: "i8", 1280: "u8"}  # fmt: skip
#: First bytes of the magic field; ``ni1`` promises another file, but readers take this one.
_MAGIC = (b"n+1", b"n+2", b"ni1", b"ni2")
#: Where data may start at the earliest, per version.
_HEADER_BYTES = {1: 348, 2: 540}
#: Longest axis of NIfTI-1.
_LONGEST = 2**15 - 1
#: Relative difference up to which spacing in pixdim and in the sform count as the same.
_TOLERANCE = 0.01
#: Share of an axis' length that float32 may have taken from an affine.
_FLOAT32 = 1e-5


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """The fields that are used; see nifti1.h for their words. ``order`` is ``<`` or ``>``."""

    version: int
    order: str
    magic: bytes
    dims: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    offset: float
    slope: float
    inter: float
    codes: tuple[int, int]
    quaternion: tuple[float, ...]
    sform: tuple[tuple[float, ...], ...]

    @property
    def data_end(self) -> int:
        """Least length of the uncompressed file."""
        return int(self.offset) + prod(self.dims) * _SAMPLE_BYTES[self.datatype]

    @property
    def plain(self) -> np.dtype[Any] | None:
        """Dtype of the samples in the file; None where they are no plain numbers in planes.

        The components of a vector image lie one after the other along axis 5, as frames do
        along axis 4; both together are left to ITK.
        """
        code = _PLAIN.get(self.datatype)
        planes = len(self.dims) in (3, 4) or (len(self.dims) == 5 and self.dims[3] == 1)
        if code is None or not planes:
            return None
        return np.dtype(self.order + code)

    @property
    def scaling(self) -> tuple[float, float] | None:
        """Slope and intercept, or None where the samples are what they are."""
        if self.slope == 0 or not isfinite(self.slope):
            return None
        return None if (self.slope, self.inter) == (1, 0) else (self.slope, self.inter)


def is_gzip(path: Path) -> bool:
    """Whether the content, not the name, is gzip."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_header(path: Path) -> NiftiHeader:
    """Read and check the header of a .nii or .nii.gz file.

    Raises:
        DamagedInput: It describes no volume; the sentence says which field is wrong.
    """
    try:
        with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
            raw = file.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedInput(f"{path} is damaged: its header cannot be read ({error})") from error
    header = _parse(path, raw)
    _check(path, header)
    if not is_gzip(path):
        check_length(path, header, path.stat().st_size)
    return header


def check_length(path: Path, header: NiftiHeader, length: int) -> None:
    """Refuse a file that ends before its data do.

    Raises:
        DamagedInput: Data are missing.
    """
    if length < header.data_end:
        raise DamagedInput(
            f"{path} is damaged: its header promises {header.data_end} bytes, {length} are there"
        )


def _parse(path: Path, raw: bytes) -> NiftiHeader:
    if len(raw) < 348:
        raise DamagedInput(f"{path} is damaged: {len(raw)} bytes are too few for a NIfTI header")
    for order in "<>":
        size = struct.unpack_from(order + "i", raw)[0]
        if size == 348:
            return _parse_1(order, raw)
        if size == 540 and len(raw) >= 540:
            return _parse_2(order, raw)
    size = struct.unpack_from("<i", raw)[0]
    raise DamagedInput(f"{path} is damaged: its header claims {size} bytes, expected 348 or 540")


def _parse_1(order: str, raw: bytes) -> NiftiHeader:
    def get(code: str, at: int) -> tuple[float, ...]:
        return struct.unpack_from(order + code, raw, at)

    dim = struct.unpack_from(order + "8h", raw, 40)
    return NiftiHeader(
        version=1,
        order=order,
        magic=raw[344:347],
        dims=tuple(dim[1 : 1 + dim[0]]) if 0 < dim[0] < 8 else (),
        datatype=struct.unpack_from(order + "h", raw, 70)[0],
        pixdim=get("8f", 76)[1:4],
        offset=get("f", 108)[0],
        slope=get("f", 112)[0],
        inter=get("f", 116)[0],
        codes=struct.unpack_from(order + "2h", raw, 252),
        quaternion=get("6f", 256),
        sform=tuple(get("4f", at) for at in (280, 296, 312)),
    )


def _parse_2(order: str, raw: bytes) -> NiftiHeader:
    def get(code: str, at: int) -> tuple[float, ...]:
        return struct.unpack_from(order + code, raw, at)

    dim = struct.unpack_from(order + "8q", raw, 16)
    return NiftiHeader(
        version=2,
        order=order,
        magic=raw[4:7],
        dims=tuple(dim[1 : 1 + dim[0]]) if 0 < dim[0] < 8 else (),
        datatype=struct.unpack_from(order + "h", raw, 12)[0],
        pixdim=get("8d", 104)[1:4],
        offset=struct.unpack_from(order + "q", raw, 168)[0],
        slope=get("d", 176)[0],
        inter=get("d", 184)[0],
        codes=struct.unpack_from(order + "2i", raw, 344),
        quaternion=get("6d", 352),
        sform=tuple(get("4d", at) for at in (400, 432, 464)),
    )


def _check(path: Path, header: NiftiHeader) -> None:
    def refuse(what: str) -> DamagedInput:
        return DamagedInput(f"{path} is damaged: {what}")

    if not header.dims or min(header.dims) < 1:
        raise refuse(f"its header has dimensions {header.dims}, expected positive numbers")
    if header.datatype not in _SAMPLE_BYTES:
        raise refuse(f"its header names datatype {header.datatype}, which does not exist")
    if header.magic not in _MAGIC:
        raise refuse(f"its header carries the mark {header.magic!r}, expected one of {_MAGIC}")
    if not header.offset >= _HEADER_BYTES[header.version]:
        raise refuse(f"its data start at byte {header.offset:g}, inside the header")
    if header.scaling is not None and not isfinite(header.inter):
        raise refuse(f"its samples are scaled by {header.slope:g}, with intercept {header.inter}")
    _check_geometry(path, header)


def _check_geometry(path: Path, header: NiftiHeader) -> None:
    def refuse(what: str) -> DamagedInput:
        return DamagedInput(f"{path} is damaged: {what}")

    spacing = header.pixdim[: len(header.dims)]
    qform, sform = header.codes
    if sform <= 0 and (not all(map(isfinite, spacing)) or min(spacing) <= 0):
        raise refuse(f"its voxels measure {spacing} mm, expected positive numbers")
    turn = header.quaternion
    if qform > 0 and not (all(map(isfinite, turn)) and sum(v * v for v in turn[:3]) < 1.001):
        raise refuse(f"its qform {turn} is no rotation and offset")
    if sform > 0 and len(header.dims) >= 3:
        if not all(isfinite(v) for row in header.sform for v in row):
            raise refuse("its sform affine holds values that are not finite")
        lengths = tuple(sqrt(sum(row[i] ** 2 for row in header.sform)) for i in range(3))
        if min(lengths) == 0:
            raise refuse("its sform affine is singular: an axis has no length")
        pairs = zip(lengths, spacing, strict=True)
        # Written so that NaN fails as well.
        if not all(p > 0 and abs(s / p - 1) <= _TOLERANCE for s, p in pairs):
            rounded = tuple(round(v, 4) for v in lengths)
            raise refuse(
                f"its sform says voxels of {rounded} mm, its pixdim {spacing} mm; one of them is "
                "wrong: mend the header (for example with fslorient -copyqform2sform)"
            )


def sform_grid(grid: Grid, header: NiftiHeader) -> Grid:
    """Return a volume's grid with the numbers of its sform, where that is what ITK has read.

    ITK takes lengths of axes from pixdim, which was rounded on its own. The difference is that of
    float32, but it decides where something is rounded: how many samples an image of another spacing
    has, say.

    Args:
        grid: As ITK has read it.
        header: The file's.
    """
    if header.codes[1] <= 0 or len(header.sform) != 3:
        return grid
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array([*header.sform, (0.0, 0.0, 0.0, 1.0)])
    found = grid.centers()
    lengths = np.linalg.norm(found[:3, :3], axis=0)
    if not (np.abs(matrix - found)[:3] <= _FLOAT32 * np.append(lengths, lengths.max())).all():
        return grid
    matrix[:3, 3] -= matrix[:3, :3] @ np.full(3, 0.5)
    return Grid.from_matrix(grid.shape, matrix, grid.space)


def nifti_1_copy(path: Path, folder: Path) -> Path:
    """Write the header of a NIfTI-2 file as NIfTI-1, which is all that SimpleITK reads.

    Returns:
        The new file; it has no samples.

    Raises:
        ConfigError: NIfTI-1 has no room for it: samples that are no plain numbers, or an axis of
            more than 32767 samples.
    """
    header = read_header(path)
    if header.plain is None or max(header.dims) > _LONGEST:
        raise ConfigError(
            f"{path} is NIfTI-2 with {header.dims} samples of datatype {header.datatype}; "
            f"only plain numbers on 3 or 4 axes of at most {_LONGEST} can be read: convert it to "
            ".nrrd"
        )
    with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
        raw = file.read(540)
    order, new = header.order, bytearray(352)

    def put(code: str, at: int, source_code: str, source_at: int) -> None:
        struct.pack_into(
            order + code, new, at, *struct.unpack_from(order + source_code, raw, source_at)
        )

    struct.pack_into(order + "i", new, 0, 348)
    struct.pack_into(order + "f", new, 108, 352)
    new[344:347] = b"n+1"
    put("8h", 40, "8q", 16)  # dim
    put("2h", 70, "2h", 12)  # datatype, bitpix
    put("8f", 76, "8d", 104)  # pixdim
    put("b", 123, "i", 500)  # xyzt_units
    put("2h", 252, "2i", 344)  # qform_code, sform_code
    put("18f", 256, "18d", 352)  # quaternion, offset, sform
    copy = folder / "header.nii"
    with writing(copy):
        copy.write_bytes(new)
    return copy
