"""Hypothesis strategies: boxes inside an image, and grids."""

from __future__ import annotations

from typing import Literal

import numpy as np
from hypothesis import strategies as st

from ..box import Box
from ..grid import LOCAL, PATIENT, Grid


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> Box:
    """Draw a box of at least one sample inside an image of ``shape``."""
    start = tuple(draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    return Box(start, stop)


@st.composite
def grids(draw: st.DrawFn, dims: Literal[2, 3], longest: int = 12) -> Grid:
    """Draw a small grid: any spacing, origin, axis order, mirroring and (in 2-D) shear.

    Args:
        draw: Given by hypothesis.
        dims: 2 gives local space, 3 patient space.
        longest: Most samples along an axis.
    """
    shape = draw(st.tuples(*[st.integers(1, longest)] * dims))
    spacing = draw(st.tuples(*[st.floats(0.1, 50)] * dims))
    origin = draw(st.tuples(*[st.floats(-1e6, 1e6)] * dims))
    direction = np.eye(dims)[list(draw(st.permutations(range(dims))))]
    direction *= draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * dims))
    if dims == 2:
        direction = direction @ [[1.0, draw(st.floats(-0.5, 0.5))], [0.0, 1.0]]
    return Grid.from_centers(
        shape, origin, spacing, direction, space=PATIENT if dims == 3 else LOCAL
    )
