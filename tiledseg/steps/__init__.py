"""Steps that change a finished class map, as values, and how people write them.

A list of steps has one meaning wherever it comes from: `tiledseg.postprocess`, the commands, a
config or a model's card. Steps are done in the order of the list, each on what the one before left:

    - smooth: 2                       # radius in samples; {radius_m: 20}, {radius_mm: 3}
    - keep_largest: liver             # or a list of classes, or all
    - remove_small: {area_m2: 400, becomes: neighbour}
    - fill_holes
"""

from __future__ import annotations

from ._read import plain_steps, read_steps
from ._steps import (
    Becomes,
    Classes,
    FillHoles,
    KeepLargest,
    LengthUnit,
    RemoveSmall,
    SizeUnit,
    Smooth,
    Step,
    classes_of,
)

__all__ = [
    "Becomes",
    "Classes",
    "FillHoles",
    "KeepLargest",
    "LengthUnit",
    "RemoveSmall",
    "SizeUnit",
    "Smooth",
    "Step",
    "classes_of",
    "plain_steps",
    "read_steps",
]
