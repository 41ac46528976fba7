"""What the labels of a class map of any tool mean, and what its sizes are told in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from ..io import Source
from ..labels import ClassInfo, ClassSchema, default_colors
from ..vector import row_measures

#: What `tiledseg.vector.row_measures` tells amounts in -> how steps speak of them.
_UNITS: dict[str, tuple[Any, float]] = {
    "ha": ("m2", 1e4),
    "ml": ("mm3", 1e3),
    "samples": ("samples", 1.0),
}


def unit_of(grid: Grid) -> tuple[NDArray[np.float64], Any]:
    """Return the size of a sample in every row of axis 0, and its unit: m2, mm3 or samples."""
    measures, told = row_measures(grid)
    unit, factor = _UNITS[told]
    return measures * factor, unit


def classes_of(source: Source, schema: ClassSchema | None, held: Iterable[int]) -> ClassSchema:
    """Return the classes of a map, those that it does not name called by their label.

    Colours are those of a palette where it has one; 0 is background unless it is nodata.

    Args:
        source: The map.
        schema: What it was written with, if anything.
        held: Labels that are in it.
    """
    background = schema.background if schema else (None if source.nodata == 0 else 0)
    known = {} if schema is None else {c.id: c for c in schema.unique}
    ids = sorted({*known, *held, *(() if background is None else (background,))})
    colors = default_colors(len(ids), None if background is None else ids.index(background))
    if source.palette is not None:
        shown = source.palette
        colors = [
            (int(shown[i][0]), int(shown[i][1]), int(shown[i][2])) if i < len(shown) else color
            for i, color in zip(ids, colors, strict=True)
        ]
    infos = (known.get(i, ClassInfo(i, f"class {i}", c)) for i, c in zip(ids, colors, strict=True))
    return ClassSchema(tuple(infos), background)
