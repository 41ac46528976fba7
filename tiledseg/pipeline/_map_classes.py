"""What the labels of a class map of any tool mean, and what its sizes are told in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from ..io import NodataSource, Source, open_source, read_schema
from ..labels import ClassSchema
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


def open_map(class_map: str | Path) -> tuple[Source, ClassSchema | None]:
    """Open a class map, and return it with the classes it was written with.

    Files of volumes cannot declare nodata: there the label that the schema keeps for it is it.

    Raises:
        ConfigError: There is no such file, or it is of no kind that is known.
        DamagedInput: It is not what it claims to be.
    """
    source = open_source(class_map)
    schema = read_schema(class_map)
    if schema is not None and source.nodata is None:
        return NodataSource(source, schema.nodata), schema
    return source, schema
