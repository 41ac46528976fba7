"""Headers of new volumes, with the words ITK (SimpleITK 2.5.7) writes for the same image.

Fields are those of nifti1.h (https://nifti.nimh.nih.gov), of
https://teem.sourceforge.net/nrrd/format.html and of
https://itk.org/Wiki/ITK/MetaIO/Documentation. ITK itself would need all samples in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...grid import PATIENT, Grid
from .._base import SinkSpec

#: Longest axis of NIfTI-1; SimpleITK does not read NIfTI-2.
NIFTI_LONGEST = 2**15 - 1
#: Byte at which the samples of a NIfTI-1 file begin: its header, and no extension.
NIFTI_OFFSET = 352
_NIFTI_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "u2": 512, "u4": 768}
_INTENT_VECTOR = 1007
_MM_AND_SECONDS = 2 | 8
_SCANNER = 1
_NRRD_TYPES = {
    "u1": "unsigned char", "u2": "unsigned short", "i2": "short", "i4": "int",
    "u4": "unsigned int", "f4": "float", "f8": "double",
}  # fmt: skip
_META_TYPES = {
    "u1": "MET_UCHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "i4": "MET_INT",
    "u4": "MET_UINT", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip
#: ITK names the side an axis comes from, `Grid.orientation` the one it goes to.
_OPPOSITE = str.maketrans("RLAPIS", "LRPASI")
#: From LPS, which is ITK's patient space, to NIfTI's RAS.
_RAS = np.diag([-1.0, -1.0, 1.0])


def nifti_header(spec: SinkSpec) -> bytes:
    """Return the 352 bytes before the samples of a NIfTI-1 file, little-endian.

    The bands of a sample are a vector, along axis 5.
    """
    centers, shape, bands = spec.grid.centers(), spec.grid.shape[::-1], len(spec.bands)
    linear, origin = _RAS @ centers[:3, :3], _RAS @ centers[:3, 3]
    spacing = np.linalg.norm(linear, axis=0)
    handed = 1.0 if np.linalg.det(linear) > 0 else -1.0
    turn = _quaternion(linear / spacing * (1.0, 1.0, handed))
    header = bytearray(NIFTI_OFFSET)
    header[38:39], header[344:347] = b"r", b"n+1"  # regular, magic

    def put(code: str, at: int, *values: float) -> None:
        struct.pack_into(f"<{code}", header, at, *values)

    put("i", 0, 348)
    put("8h", 40, 3 if bands == 1 else 5, *shape, 1, bands, 1, 1)
    put("h", 68, 0 if bands == 1 else _INTENT_VECTOR)
    put("2h", 70, _NIFTI_CODES[_kind(spec)], 8 * spec.dtype.itemsize)
    put("4f", 76, handed, *spacing)
    put("3f", 108, NIFTI_OFFSET, 1.0, 0.0)  # offset, slope, intercept
    put("B", 123, _MM_AND_SECONDS)
    put("2h", 252, _SCANNER, _SCANNER)  # qform, sform
    put("6f", 256, *turn, *origin)
    put("12f", 280, *np.column_stack([linear, origin]).ravel())
    return bytes(header)


def nrrd_header(spec: SinkSpec) -> bytes:
    """Return the header of a gzipped NRRD file, up to its empty line.

    The bands of a sample are its first axis.
    """
    centers, bands = spec.grid.centers() + 0.0, len(spec.bands)
    axes = [f"({','.join(_digits(column))})" for column in centers[:3, :3].T]
    lead = ([str(bands)], ["none"], ["vector"]) if bands > 1 else ([], [], [])
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {_NRRD_TYPES[_kind(spec)]}",
        f"dimension: {3 + len(lead[0])}",
        "space: left-posterior-superior",
        f"sizes: {' '.join([*lead[0], *map(str, spec.grid.shape[::-1])])}",
        f"space directions: {' '.join([*lead[1], *axes])}",
        f"kinds: {' '.join([*lead[2], 'domain', 'domain', 'domain'])}",
        *(["endian: little"] if spec.dtype.itemsize > 1 else []),
        "encoding: gzip",
        f"space origin: ({','.join(_digits(centers[:3, 3]))})",
    ]
    return ("\n".join(lines) + "\n\n").encode()


def meta_header(spec: SinkSpec, packed: int) -> bytes:
    """Return the header of a compressed MetaImage file; its length depends on the spec alone.

    Args:
        spec: The image.
        packed: Bytes of the compressed samples.
    """
    grid, bands = spec.grid, len(spec.bands)
    origin = grid.centers()[:3, 3] + 0.0
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {packed:20}",
        f"TransformMatrix = {' '.join(_digits(grid.direction.T.ravel() + 0.0))}",
        f"Offset = {' '.join(_digits(origin))}",
        "CenterOfRotation = 0 0 0",
        f"AnatomicalOrientation = {_anatomical(grid)}",
        f"ElementSpacing = {' '.join(_digits(grid.spacing[::-1]))}",
        f"DimSize = {' '.join(map(str, grid.shape[::-1]))}",
        *([f"ElementNumberOfChannels = {bands}"] if bands > 1 else []),
        f"ElementType = {_META_TYPES[_kind(spec)]}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode()


def _kind(spec: SinkSpec) -> str:
    return f"{spec.dtype.kind}{spec.dtype.itemsize}"


def _digits(values: Iterable[float]) -> list[str]:
    """Return numbers with as many digits as bring the same float64 back."""
    return [f"{value:.17g}" for value in values]


def _anatomical(grid: Grid) -> str:
    letters = replace(grid, space=PATIENT).orientation or ""
    return letters[::-1].translate(_OPPOSITE)


def _quaternion(turn: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return b, c, d of the quaternion (a >= 0) of the rotation nearest to a 3 x 3 matrix.

    The eigenvector of the largest eigenvalue of a symmetric 4 x 4 matrix (Bar-Itzhack, Journal of
    Guidance, Control and Dynamics 23(6), 2000), which is exact for half turns too.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn
    matrix = [
        [xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, xx - yy - zz, yx + xy, xz + zx],
        [xz - zx, yx + xy, yy - xx - zz, zy + yz],
        [yx - xy, xz + zx, zy + yz, zz - xx - yy],
    ]
    found = np.linalg.eigh(np.array(matrix))[1][:, -1]
    decides = found[0] if abs(found[0]) > 1e-9 else found[np.abs(found).argmax()]
    _, b, c, d = found * np.sign(decides)
    return float(b), float(c), float(d)
