"""Planes of label volumes -> closed contours along the sides of voxels, and files of them.

A plane is looked at as a whole, one after the other, so contours do not depend on what is read at a
time. Every contour encloses one 4-connected face of a class, its holes joined to it by channels of
no width: the areas of a class's contours are its voxels, exactly.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ._find import Contour, contours_need, find_contours

__all__ = ["Contour", "Slices", "StructureWriter", "contours_need", "find_contours"]


def __getattr__(name: str) -> Any:
    """Load what needs an extra only when it is asked for."""
    if name not in ("Slices", "StructureWriter"):
        raise AttributeError(f"module 'tiledseg.rings' has no attribute {name!r}")
    return getattr(import_module("._rtstruct", __name__), name)
