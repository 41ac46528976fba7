"""Contours -> a DICOM RT structure set; a door to pydicom.

The object is that of DICOM PS3.3, A.19 and C.8.8: a structure per class, and its contours in
patient coordinates (LPS mm). Contours are CLOSED_PLANAR, their holes joined by channels (C.8.8.6.3,
"keyhole"), so that programs that fill by even-odd, by winding or one by one agree.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DamagedInput, MissingBackend
from ..io import remove, settle, temporary_beside, writing
from ..labels import ClassInfo

try:
    import pydicom
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.tag import Tag
    from pydicom.uid import ImplicitVRLittleEndian, generate_uid
except ImportError as error:
    raise MissingBackend(error.name or "pydicom", "dicom", "contours in DICOM") from None

#: DICOM PS3.4, B.5: RT Structure Set Storage; PS3.4, A: Detached Study Management, retired, which
#: is what the study of a structure set's images is referred to by.
_STRUCTURES, _STUDY = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.3.1.2.3.1"
#: What a structure set has of its images' patient and study (PS3.3, C.7.1.1 and C.7.2.1).
_SHARED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID"),
    "AccessionNumber",
)
_IMAGE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
#: Decimals of a millimetre; a number has 16 characters at most (PS3.5, 6.2: DS).
_DECIMALS = 6
#: Characters of a name (PS3.5, 6.2: LO).
_NAME = 64
#: Bytes that are held for a contour (9,700 were measured, its image included), and for a corner of
#: it: its text, twice.
CONTOUR_BYTES, CORNER_BYTES = 12_000, 80


@dataclass(frozen=True)
class Slices:
    """The images that contours are drawn on.

    Args:
        files: One per plane, in the order of planes.
        headers: What is known of each, without its pixels.
    """

    files: list[Path]
    headers: list[Any] = field(repr=False)

    @classmethod
    def read(cls, files: list[Path]) -> Slices:
        """Read the headers of a series.

        Raises:
            DamagedInput: A file is no DICOM image, or has not what it is told by.
        """
        headers = []
        for path in files:
            try:
                found = pydicom.dcmread(
                    path, stop_before_pixels=True, specific_tags=[*_SHARED, *_IMAGE]
                )
                missing = [n for n in (*_IMAGE, "StudyInstanceUID") if not str(found.get(n) or "")]
            except Exception as error:  # pydicom raises of every kind where a value is missing
                told = " ".join(str(error).split())[:200]
                raise DamagedInput(f"{path} cannot be read as a DICOM slice: {told}") from error
            if missing:
                raise DamagedInput(
                    f"{path} has no {missing[0]}, by which a structure set tells its images; draw "
                    "the contours without --images, or export the series again"
                )
            headers.append(found)
        return cls(files, headers)


class StructureWriter:
    """Structures, contour by contour, and then the file: whole, or not at all.

    Numbers of structures are those of the classes, plus one where a class is 0. Nothing in the file
    depends on when it is written: the same contours give the same bytes.

    Args:
        path: Final name.
        slices: The images; None: contours of no image that is known.
    """

    def __init__(self, path: Path, slices: Slices | None) -> None:
        self._path, self._slices = path, slices
        self._contours: dict[int, list[Any]] = {}
        self._digest = hashlib.sha256()
        #: Bytes held so far.
        self.bytes = 0

    def add(self, label: int, plane: int, points: NDArray[np.float64]) -> None:
        """Add a closed contour, (n, 3) mm, of a label in a plane."""
        text = "\\".join(map(repr, points.round(_DECIMALS).ravel().tolist())).encode()
        self._digest.update(b"%d %d " % (label, plane) + text)
        item = Dataset()
        if self._slices is not None:
            item.ContourImageSequence = [_image(self._slices.headers[plane])]
        item.ContourGeometricType = "CLOSED_PLANAR"
        item.NumberOfContourPoints = len(points)
        tag, text = Tag("ContourData"), text + b" " * (len(text) % 2)
        # As bytes: numbers one by one would take pydicom a hundred times as long.
        item[tag] = RawDataElement(tag, "DS", len(text), text, 0, True, True)
        self._contours.setdefault(label, []).append(item)
        self.bytes += CONTOUR_BYTES + CORNER_BYTES * len(points)

    def write(self, classes: list[ClassInfo]) -> None:
        """Write the structures of classes that have contours, in this order.

        Raises:
            OutputFailed: The file cannot be written.
        """
        file = self._head()
        shift = int(any(info.id == 0 for info in classes))
        for info, name in zip(classes, _names(classes), strict=True):
            number, structure, drawn, seen = info.id + shift, Dataset(), Dataset(), Dataset()
            structure.ROINumber = number
            structure.ReferencedFrameOfReferenceUID = file.FrameOfReferenceUID
            structure.ROIName = name
            structure.ROIGenerationAlgorithm = "AUTOMATIC"
            drawn.ROIDisplayColor = list(info.color)
            drawn.ContourSequence = self._contours[info.id]
            drawn.ReferencedROINumber = number
            seen.ObservationNumber, seen.ReferencedROINumber = number, number
            seen.RTROIInterpretedType, seen.ROIInterpreter = "", ""
            file.StructureSetROISequence.append(structure)
            file.ROIContourSequence.append(drawn)
            file.RTROIObservationsSequence.append(seen)
        partial = temporary_beside(self._path)
        try:
            with writing(self._path):
                remove(partial)
                file.save_as(partial, enforce_file_format=True)
                settle(partial, self._path)
        finally:
            remove(partial)

    def _head(self) -> Any:
        """Return the object without structures."""
        file: Any = Dataset()
        images = None if self._slices is None else self._slices.headers
        for name in _SHARED:
            setattr(file, name, "" if images is None else images[0].get(name, ""))
        if images is None:
            file.StudyInstanceUID = self._uid("study")
            file.FrameOfReferenceUID = self._uid("frame")
        else:
            file.FrameOfReferenceUID = images[0].FrameOfReferenceUID
            self._digest.update(str(images[0].SeriesInstanceUID).encode())
        file.SpecificCharacterSet = "ISO_IR 192"
        file.SOPClassUID, file.SOPInstanceUID = _STRUCTURES, self._uid("instance")
        file.Modality, file.SeriesInstanceUID = "RTSTRUCT", self._uid("series")
        file.SeriesNumber, file.OperatorsName, file.Manufacturer = "", "", "tiledseg"
        file.PositionReferenceIndicator = ""
        file.StructureSetLabel = "tiledseg"
        file.StructureSetDate, file.StructureSetTime, file.ApprovalStatus = "", "", "UNAPPROVED"
        file.ReferencedFrameOfReferenceSequence = [_frame(file, images)]
        file.StructureSetROISequence, file.ROIContourSequence = [], []
        file.RTROIObservationsSequence = []
        file.file_meta = FileMetaDataset()
        # Explicit ones hold 64 kB of numbers at most, and a contour may have more.
        file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = _STRUCTURES
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
        return file

    def _uid(self, what: str) -> Any:
        return generate_uid(entropy_srcs=[self._digest.hexdigest(), what])


def _names(classes: list[ClassInfo]) -> list[str]:
    """Return names that DICOM can hold; what would be called the same gets its id."""
    names = [
        "".join(c if c.isprintable() and c != "\\" else "_" for c in info.name).strip()
        or f"class {info.id}"
        for info in classes
    ]
    counts = Counter(name[:_NAME] for name in names)
    marks = [
        f" ({c.id})" if counts[n[:_NAME]] > 1 else "" for c, n in zip(classes, names, strict=True)
    ]
    return [name[: _NAME - len(mark)] + mark for name, mark in zip(names, marks, strict=True)]


def _image(header: Any) -> Any:
    """Return how a slice is referred to."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def _frame(file: Any, images: list[Any] | None) -> Any:
    """Return the frame of reference, and all its images where they are known."""
    frame = Dataset()
    frame.FrameOfReferenceUID = file.FrameOfReferenceUID
    if images is not None:
        study, series = Dataset(), Dataset()
        series.SeriesInstanceUID = images[0].SeriesInstanceUID
        series.ContourImageSequence = [_image(header) for header in images]
        study.ReferencedSOPClassUID = _STUDY
        study.ReferencedSOPInstanceUID = file.StudyInstanceUID
        study.RTReferencedSeriesSequence = [series]
        frame.RTReferencedStudySequence = [study]
    return frame
