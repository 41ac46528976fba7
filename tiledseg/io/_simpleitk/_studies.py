"""A folder of DICOM studies: every series below it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import SimpleITK as sitk

from ._dicom import sop_class
from ._itk import information, is_dicom

#: Fewer slices are no volume: scouts, screen shots.
_FEWEST = 2
#: SOP classes (PS3.4, annex B.5) of what is no image: presentation states, segmentations and
#: registrations, structured reports, radiotherapy.
_NO_IMAGE = tuple(b"1.2.840.10008.5.1.4.1.1." + kind for kind in (b"11.", b"66", b"88.", b"481."))


class FoundSeries(NamedTuple):
    """A DICOM series in a folder.

    Args:
        folder: Where its slices are.
        uid: Which series of the folder; None where the folder has but one.
        label: The number or the end of the UID, that tells it from the folder's others, or "".
    """

    folder: Path
    uid: str | None
    label: str


def find_series(root: Path) -> Iterator[FoundSeries]:
    """Yield the series of at least two slices in a folder and below it, by folder.

    A folder of DICOM files none of which can be read counts too: opening it says what is wrong.
    """
    for name, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if any(_looks_dicom(Path(name, file)) for file in files):
            yield from _in_folder(Path(name), files)


def _in_folder(folder: Path, files: list[str]) -> list[FoundSeries]:
    slices = {
        uid: sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    }
    if not slices:
        images = [f for f in files if _is_image(Path(folder, f))]
        return [FoundSeries(folder, None, "")] if len(images) >= _FEWEST else []
    whole = {uid: names[0] for uid, names in slices.items() if len(names) >= _FEWEST}
    if len(slices) == 1:
        return [FoundSeries(folder, None, "") for _ in whole]
    numbers = {uid: _number(Path(first)) for uid, first in whole.items()}
    shared = Counter(numbers.values())
    return [
        FoundSeries(
            folder,
            uid,
            "" if len(whole) == 1 else number if number and shared[number] == 1 else _end(uid),
        )
        for uid, number in numbers.items()
    ]


def _looks_dicom(path: Path) -> bool:
    with suppress(OSError):  # a dangling link, a file of someone else
        return path.is_file() and (path.suffix.lower() == ".dcm" or is_dicom(path))
    return False


def _is_image(path: Path) -> bool:
    with suppress(OSError):
        return _looks_dicom(path) and not (sop_class(path) or b"").startswith(_NO_IMAGE)
    return False


def _number(first: Path) -> str:
    """Return the series number (0020,0011), or nothing."""
    info = information(first)
    return info.GetMetaData("0020|0011").strip() if info.HasMetaDataKey("0020|0011") else ""


def _end(uid: str) -> str:
    return uid[-8:].strip(".").replace(".", "-")
