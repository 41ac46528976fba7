"""Between grids whose axes are parallel: which grid a model wants, and what samples are made of.

Tools do this in different ways, and networks have learnt from images that their own tool made. So
its rules are followed here, in numbers alone: nothing of the tools is imported (ADR 13).
"""

from ._scaling import Method, Scaling, Taps, everywhere
from ._spacing import filled, metric_spacing, spacing_of
from ._target import Target
from ._wishes import Resampling, Respacing

__all__ = [
    "Method",
    "Resampling",
    "Respacing",
    "Scaling",
    "Taps",
    "Target",
    "everywhere",
    "filled",
    "metric_spacing",
    "spacing_of",
]
