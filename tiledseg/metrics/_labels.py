"""Label arrays, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

#: Labels are 0 to this; larger numbers are ids of instances, not classes.
LARGEST = 65535


def labels_of(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return label values as integers of 0 to 65535.

    Args:
        values: Of any real dtype; some tools store labels as float.
        name: What to call them in a message.

    Raises:
        ConfigError: There are fractions, or values outside 0 to 65535.
    """
    if values.dtype in (np.uint8, np.uint16) or values.size == 0:
        return values
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= LARGEST):  # NaN, too, is not
        raise ConfigError(
            f"{name} holds {low:g} to {high:g}: labels are 0 to {LARGEST}; name values that mean "
            "no truth with --ignore, or give a class map"
        )
    whole = values.astype(np.uint16)
    if values.dtype.kind == "f" and not (whole == values).all():
        raise ConfigError(f"{name} holds fractions, labels are whole numbers; give a class map")
    return whole
