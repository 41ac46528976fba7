"""The `value_scaling` of STAC-MLM -> steps of a normalisation.

Formulas are those of the extension's README, "Value Scaling Object"; every band has one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from ...document import brief
from ...errors import ConfigError

Kind = Literal[
    "min-max", "z-score", "clip", "clip-min", "clip-max", "offset", "scale", "processing"
]
_LARGEST = float(np.finfo(np.float32).max)
_NEEDS = {
    "min-max": ("minimum", "maximum"),
    "z-score": ("mean", "stddev"),
    "clip": ("minimum", "maximum"),
    "clip-min": ("minimum",),
    "clip-max": ("maximum",),
    "offset": ("value",),
    "scale": ("value",),
}


class Scaling(BaseModel):
    """How the values of one band, or of all, are scaled."""

    type: Kind | None = None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    stddev: float | None = None
    value: float | None = None
    expression: Any = None


def steps_of(scalings: list[Scaling], bands: int, name: str) -> list[dict[str, Any]]:
    """Return the steps, as a card has them, for one scaling per band or one for all.

    Raises:
        ConfigError: A scaling is code, lacks a number, or divides by zero; or their count is wrong.
    """
    if len(scalings) not in (0, 1, bands):
        raise ConfigError(f"{name}: {len(scalings)} value_scaling objects for {bands} bands")
    for scaling in scalings:
        _check(scaling, name)
    steps: list[dict[str, Any]] = []
    if any(s.type in ("min-max", "z-score", "offset", "scale") for s in scalings):
        lines = [_line(s, name) for s in scalings]
        scale, offset = ([line[i] for line in lines] for i in (0, 1))
        steps.append({"kind": "linear", "scale": scale, "offset": offset})
    if any(str(s.type).startswith("clip") for s in scalings):
        ends = [_ends(s) for s in scalings]
        low, high = ([end[i] for end in ends] for i in (0, 1))
        steps.append({"kind": "clip", "low": low, "high": high})
    return steps


def _check(scaling: Scaling, name: str) -> None:
    if scaling.type == "processing":
        raise ConfigError(
            f"{name}: value_scaling of type processing is code, which is never run: "
            f"{brief(scaling.expression)}"
        )
    wanting = [n for n in _NEEDS.get(scaling.type or "", ()) if getattr(scaling, n) is None]
    if wanting:
        raise ConfigError(f"{name}: value_scaling {scaling.type} needs {' and '.join(wanting)}")


def _line(scaling: Scaling, name: str) -> tuple[float, float]:
    """Return scale and offset: ``x * scale + offset``."""
    subtracted, divisor = 0.0, 1.0
    if scaling.type == "min-max":
        subtracted = scaling.minimum or 0.0
        divisor = (scaling.maximum or 0.0) - subtracted
    elif scaling.type == "z-score":
        subtracted, divisor = scaling.mean or 0.0, scaling.stddev or 0.0
    elif scaling.type == "offset":
        subtracted = scaling.value or 0.0
    elif scaling.type == "scale":
        divisor = scaling.value or 0.0
    if divisor == 0:
        raise ConfigError(f"{name}: value_scaling {scaling.type} divides by zero")
    return 1.0 / divisor, -subtracted / divisor


def _ends(scaling: Scaling) -> tuple[float, float]:
    """Return the limits of a clip; without one, those of a float32."""
    if not str(scaling.type).startswith("clip"):
        return -_LARGEST, _LARGEST
    low, high = scaling.minimum, scaling.maximum
    return (
        -_LARGEST if low is None or scaling.type == "clip-max" else low,
        _LARGEST if high is None or scaling.type == "clip-min" else high,
    )
