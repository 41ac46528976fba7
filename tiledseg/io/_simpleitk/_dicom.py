"""A folder of DICOM slices: which series, in which order, and whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ...errors import ConfigError, DamagedInput
from ...grid import PATIENT, Grid
from ._itk import dtype_of, information, is_dicom

#: Share of the slice distance by which slices may lie off an even stack.
_UNEVEN = 0.01
#: Share of a pixel by which a slice may lie aside of the first.
_ASIDE = 0.1


@dataclass(frozen=True, slots=True)
class Series:
    """The slices of a series in the order of their positions, and their common grid."""

    files: tuple[Path, ...]
    grid: Grid
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class _Slice:
    path: Path
    size: tuple[int, ...]
    position: NDArray[np.float64]
    direction: NDArray[np.float64]
    spacing: tuple[float, ...]
    dtype: np.dtype[Any]


def open_dicom(folder: Path, series: str | None) -> Series:
    """Return a series of a folder.

    Args:
        folder: Where the slices are.
        series: Number from 1, or UID; needed where there are several.

    Raises:
        ConfigError: There is no series, or several and none was chosen.
        DamagedInput: A slice is missing, repeated, or unlike the others.
    """
    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not found:
        raise ConfigError(f"{folder} holds no DICOM series, and is no other image either")
    _refuse_strays(folder, found)
    chosen = _choose(folder, found, series)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), chosen)
    slices = [_read(Path(name)) for name in names]
    return _stacked(folder, slices)


def _refuse_strays(folder: Path, found: tuple[str, ...]) -> None:
    """Refuse slices that GDCM leaves out because it cannot read them.

    It also leaves out what is no image (structured reports, presentation states); those have
    another SOP class than the slices, and do no harm.
    """
    known = {
        Path(name)
        for uid in found
        for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    }
    classes = {None, *map(sop_class, known)}
    for path in sorted(set(folder.iterdir()) - known):
        if path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        if (path.suffix.lower() == ".dcm" or is_dicom(path)) and sop_class(path) in classes:
            raise DamagedInput(
                f"{folder}: {path.name} is damaged: it cannot be read as a slice; replace it, or "
                "remove it if it is none"
            )


def sop_class(path: Path) -> bytes | None:
    """Return the SOP class a file names at its start (0002,0002 of PS3.10), or None."""
    with path.open("rb") as file:
        start = file.read(1024)
    _, _, rest = start.partition(b"\x02\x00\x02\x00UI")
    length = int.from_bytes(rest[:2], "little")
    uid = rest[2 : 2 + length]
    return uid.rstrip(b"\0 ") if length and len(uid) == length else None


def _choose(folder: Path, found: tuple[str, ...], series: str | None) -> str:
    listing = "; ".join(
        f"{i}: {_description(folder, uid)} ({uid})" for i, uid in enumerate(found, 1)
    )
    if series is None:
        if len(found) > 1:
            raise ConfigError(
                f"{folder} holds {len(found)} series; choose one with --series: {listing}"
            )
        return found[0]
    if series.isdecimal() and 1 <= int(series) <= len(found):
        return found[int(series) - 1]
    if series in found:
        return series
    raise ConfigError(f"{folder} holds no series {series!r}; there are {listing}")


def _description(folder: Path, uid: str) -> str:
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    info = information(Path(names[0]))
    told = "no description"
    if info.HasMetaDataKey("0008|103e"):
        told = info.GetMetaData("0008|103e").strip() or told
    return f"{told}, {len(names)} slices of {info.GetSize()[0]} x {info.GetSize()[1]}"


def _read(path: Path) -> _Slice:
    info = information(path)
    size = info.GetSize()
    if len(size) != 3 or size[2] != 1:
        raise ConfigError(f"{path} holds several frames; open the file itself, not its folder")
    return _Slice(
        path=path,
        size=size,
        position=np.array(info.GetOrigin()),
        direction=np.reshape(info.GetDirection(), (3, 3)),
        spacing=info.GetSpacing(),
        dtype=dtype_of(path, info),
    )


def _stacked(folder: Path, slices: list[_Slice]) -> Series:
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size:
            raise DamagedInput(
                f"{folder}: slice {other.path.name} measures {other.size[:2]}, the others "
                f"{first.size[:2]}; remove it or choose another series"
            )
        if np.abs(other.direction - first.direction).max() > 1e-4:
            raise DamagedInput(
                f"{folder}: slice {other.path.name} is tilted against the others; it belongs to "
                "another volume"
            )
        if not np.allclose(other.spacing[:2], first.spacing[:2], rtol=1e-4):
            raise DamagedInput(
                f"{folder}: slice {other.path.name} has another spacing than the others"
            )
    normal = first.direction[:, 2]
    slices = sorted(slices, key=lambda s: float(s.position @ normal))
    distance = _distance(folder, slices, normal)
    _refuse_slanted(folder, slices)
    grid = Grid.from_centers(
        (len(slices), first.size[1], first.size[0]),
        tuple(slices[0].position.tolist()),
        (first.spacing[0], first.spacing[1], distance),
        first.direction,
        PATIENT,
    )
    dtype = np.result_type(*(s.dtype for s in slices))
    return Series(tuple(s.path for s in slices), grid, dtype)


def _distance(folder: Path, slices: list[_Slice], normal: NDArray[np.float64]) -> float:
    """Return the distance between slices, which must be the same everywhere."""
    if len(slices) == 1:
        return slices[0].spacing[2]
    places = np.array([s.position @ normal for s in slices])
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    if usual <= 0 or gaps.min() < usual * 0.5:
        at = int(gaps.argmin())
        raise DamagedInput(f"{folder}: two slices lie at {places[at]:.2f} mm; a series is doubled")
    off = np.abs(gaps - usual)
    if off.max() > _UNEVEN * usual:
        at = int(off.argmax())
        why = "a slice is missing there" if gaps[at] > 1.5 * usual else "the stack is uneven"
        raise DamagedInput(
            f"{folder}: slices are {usual:.2f} mm apart, but {gaps[at]:.2f} mm between "
            f"{places[at]:.2f} and {places[at + 1]:.2f} mm: {why}"
        )
    return float(gaps.mean())


def _refuse_slanted(folder: Path, slices: list[_Slice]) -> None:
    """Refuse slices that do not lie straight above each other (a tilted gantry)."""
    first = slices[0]
    for other in slices[1:]:
        aside = (other.position - first.position) @ first.direction[:, :2]
        if (np.abs(aside) > _ASIDE * np.array(first.spacing[:2])).any():
            raise DamagedInput(
                f"{folder}: slice {other.path.name} lies {np.abs(aside).max():.2f} mm aside of "
                f"{first.path.name} (a tilted gantry); resample the series first, for example in "
                "3D Slicer"
            )
