"""Labels that are held in memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..grid import Grid
from ..labels import ClassSchema
from ._labels import LabelSource


class HeldLabels(LabelSource):
    """Class ids that are held in memory, of an image that fits there.

    Args:
        ids: (*shape), the schema's dtype.
        grid: Where they lie.
        schema: The classes.
        uri: What to call them.
    """

    def __init__(self, ids: NDArray[Any], grid: Grid, schema: ClassSchema, uri: str) -> None:
        super().__init__(schema)
        self._ids, self.grid, self.uri = ids, grid, uri
        self.blocks, self.working_bytes = grid.shape, ids.nbytes

    def look(self, box: Box) -> tuple[NDArray[Any], Counter[str]]:
        """Return a copy of the class ids of ``box``."""
        return self._ids[box.slices].copy(), Counter()

    def fingerprint(self) -> dict[str, Any]:
        """Return the hash of the ids."""
        digest = hashlib.sha256(np.ascontiguousarray(self._ids).data)
        return {"labels": "held", "shape": list(self._ids.shape), "sha256": digest.hexdigest()}
