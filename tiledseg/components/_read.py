"""Class maps and scores, block by block, as components want them."""

from __future__ import annotations

from math import prod

import numpy as np

from ..box import Box
from ..errors import ConfigError
from ..io import Source
from ._pieces import NODATA, Labels
from ._table import SCORE_PARTS
from ._union import Ints

#: Samples of a block where nothing is said.
BLOCK = 1 << 22
#: Labels are 0 to this; larger numbers are ids of instances, not classes.
LARGEST = 65535


def require_class_map(source: Source) -> None:
    """Refuse what is no class map.

    Raises:
        ConfigError: It has several channels, or samples that are no whole numbers.
    """
    if len(source.channels) != 1 or source.dtype.kind not in "iu":
        raise ConfigError(
            f"{source.uri} is not a class map: it has {len(source.channels)} channels of "
            f"{source.dtype}, expected one channel of integers"
        )


def read_labels(source: Source, box: Box) -> Labels:
    """Return the labels of a box, `NODATA` where nothing was measured.

    Raises:
        ConfigError: There are values outside 0 to 65535.
        DamagedInput: The map cannot be read.
    """
    values, valid = source.read(box)[0], source.valid(box)
    labels = np.where(valid, values, 0)
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low < 0 or high > LARGEST:
        raise ConfigError(
            f"{source.uri} holds {min(low, 0)} to {high}: labels are 0 to {LARGEST}; give a class "
            "map, or declare other values as its nodata"
        )
    found: Labels = labels.astype(np.int32)
    found[~valid] = NODATA
    return found


def rows_of(source: Source, samples: int = BLOCK) -> tuple[int, ...]:
    """Return blocks of whole rows along axis 0, in multiples of the file's own where they fit.

    Args:
        source: The map.
        samples: Most samples of a block, unless a row has more.
    """
    rows, *rest = source.grid.shape
    step = max(1, min(samples // prod(rest), rows))
    deep = max(1, source.blocks[0])
    return (max(step // deep * deep, min(step, deep)), *rest)


def read_scores(scores: Source, box: Box) -> Ints:
    """Return the scores of a box in `SCORE_PARTS`; what was not measured counts as 0.

    Scores may be stored as integers with a scale, as a run writes them.

    Raises:
        ConfigError: There are scores outside 0 to 1.
        DamagedInput: They cannot be read.
    """
    values = scores.read(box)[0].astype(np.float64) * (scores.scale or 1.0)
    values[~scores.valid(box) | ~np.isfinite(values)] = 0
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0 or high > 1:
        raise ConfigError(f"scores {scores.uri} hold {low:g} to {high:g}, expected 0 to 1")
    parts: Ints = np.rint(values * SCORE_PARTS).astype(np.int64)
    return parts
