"""An image in which a value means "not measured", though its file cannot say so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ._base import Source
from ._derived import DerivedSource


class NodataSource(DerivedSource):
    """An image of one channel with a nodata value.

    Args:
        inner: The image, which declares none.
        nodata: The value.
    """

    def __init__(self, inner: Source, nodata: int) -> None:
        super().__init__(inner)
        self.nodata, self.palette = nodata, inner.palette

    def read(self, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``."""
        return self.inner.read(box)

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where samples of ``box`` were measured."""
        return np.asarray(self.inner.valid(box) & (self.inner.read(box)[0] != self.nodata))
