"""A class map that lies in pieces somewhere, and is read as an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..grid import Grid
from ._base import Source


class HeldMap(Source):
    """Labels that a function reads; the box read last is held, for `valid` asks for it too.

    Args:
        read: Returns the labels of a box.
        grid: Where they lie.
        dtype: Of the labels.
        nodata: Label of what was not measured.
        blocks: Natural unit of reading, per axis.
        uri: What to call it.
    """

    channels = ("class",)

    def __init__(
        self,
        read: Callable[[Box], NDArray[Any]],
        grid: Grid,
        dtype: np.dtype[Any],
        nodata: int,
        blocks: tuple[int, ...],
        uri: str,
    ) -> None:
        self._read, self.grid, self.dtype, self.nodata = read, grid, dtype, nodata
        self.blocks, self.uri = blocks, uri
        self._held: tuple[Box, NDArray[Any]] | None = None

    def read(self, box: Box) -> NDArray[Any]:
        """Return the labels of ``box``."""
        return self._labels(box)[np.newaxis].copy()

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where they are not nodata."""
        return np.asarray(self._labels(box) != self.nodata)

    def fingerprint(self) -> dict[str, Any]:
        """Return what it is called: it is made and read by one process."""
        return {"uri": self.uri}

    def _labels(self, box: Box) -> NDArray[Any]:
        held = self._held
        if held is None or held[0] != box:
            held = self._held = (box, self._read(box))
        return held[1]
