"""Borders of components as arcs that neighbours share; outlines made of them; out of core.

`trace_arcs` reads a map band by band and keeps corners on disk; `smooth` takes the steps of samples
off; `simplify` leaves corners out of arcs; `regularize` makes walls at right angles of them;
`Faces` makes outlines. None of them depends on the bands.
"""

from __future__ import annotations

from ._arcs import Arcs, trace_arcs
from ._faces import Faces, Outlines
from ._regularize import FINE, LEAST, regularize
from ._simplify import Thinning, simplify
from ._smooth import smooth

__all__ = [
    "FINE",
    "LEAST",
    "Arcs",
    "Faces",
    "Outlines",
    "Thinning",
    "regularize",
    "simplify",
    "smooth",
    "trace_arcs",
]
