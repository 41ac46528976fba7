"""SimpleITK's calls, with its errors in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ...errors import ConfigError, DamagedInput
from ...grid import PATIENT, Grid

# Warnings would go to stderr past every handler; what matters is checked and raised here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def information(path: Path) -> sitk.ImageFileReader:
    """Return a reader that has read the header of ``path``.

    Raises:
        DamagedInput: ITK cannot make sense of the file.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DamagedInput(f"{path} cannot be read as a volume: {reason(error)}") from error
    return reader


def execute(path: Path, reader: sitk.ImageFileReader) -> NDArray[Any]:
    """Return the samples a prepared reader points at, array order.

    Raises:
        DamagedInput: The data cannot be decoded.
    """
    try:
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    except RuntimeError as error:
        raise DamagedInput(f"{path} is damaged: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return the last line of ITK's message, without file and line of its source."""
    line = str(error).strip().splitlines()[-1]
    return line.split("): ", 1)[-1].removeprefix("ITK ERROR: ")[:200]


def dtype_of(path: Path, reader: sitk.ImageFileReader) -> np.dtype[Any]:
    """Return the numpy dtype of a file's samples.

    Raises:
        ConfigError: The samples are complex or no numbers.
    """
    blank = sitk.GetArrayFromImage(sitk.Image([1] * 2, reader.GetPixelID()))
    if blank.dtype.kind not in "iuf":
        raise ConfigError(f"{path} has samples of {blank.dtype}; expected integers or real numbers")
    found: np.dtype[Any] = blank.dtype
    return found


def grid_of(path: Path, size: tuple[int, ...], geometry: Any) -> Grid:
    """Return the grid of an ITK geometry (origin, spacing, direction) of 3 or 4 axes.

    Raises:
        DamagedInput: The geometry is not finite or singular.
    """
    n = len(geometry.GetSize())
    direction = np.reshape(geometry.GetDirection(), (n, n))[:3, :3]
    try:
        return Grid.from_centers(
            size[::-1], geometry.GetOrigin()[:3], geometry.GetSpacing()[:3], direction, PATIENT
        )
    except ConfigError as error:
        raise DamagedInput(f"{path} is damaged: {error}") from error


def is_dicom(path: Path) -> bool:
    """Whether the file carries DICOM's mark: DICM at byte 128 (PS3.10)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
