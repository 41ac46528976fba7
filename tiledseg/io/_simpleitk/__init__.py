"""Volumes through SimpleITK: the only door to it."""

from __future__ import annotations

from ._dicom import open_dicom
from ._itk import is_dicom
from ._sink import VolumeSink, read_schema
from ._source import VolumeSource, open_volume
from ._studies import find_series

__all__ = [
    "VolumeSink",
    "VolumeSource",
    "find_series",
    "is_dicom",
    "open_dicom",
    "open_volume",
    "read_schema",
]
