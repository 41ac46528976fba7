"""Objects, numbered: components, their parts, groups around centres, or what a network finds.

Whatever finds them gives a table of objects by ascending first sample and can write the map again
with a value per object (`Found`). So ids depend on the map alone, and everything after is the same.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ._centres import Centred, Heads, find_centres
from ._coco import ReadSegments, read_segments, segments_path, write_segments
from ._detected import FIND_BYTES, Detected, Find, Finds
from ._number import LARGEST, Found, Segments, number
from ._split import Cut, Split, split_components

__all__ = [
    "FIND_BYTES",
    "LARGEST",
    "SAMPLE_BYTES",
    "Centred",
    "Cut",
    "Detected",
    "Find",
    "Finds",
    "Found",
    "Heads",
    "ReadSegments",
    "Segments",
    "Split",
    "find_centres",
    "number",
    "parts_of",
    "read_segments",
    "segments_path",
    "split_components",
    "write_segments",
]


def __getattr__(name: str) -> Any:
    """Load what needs an extra only when it is asked for."""
    if name not in ("SAMPLE_BYTES", "parts_of"):
        raise AttributeError(f"module 'tiledseg.objects' has no attribute {name!r}")
    return getattr(import_module("._watershed", __name__), name)
