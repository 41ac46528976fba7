"""Several aligned images stacked as channels of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ._base import Source


class StackedSource(Source):
    """Images on one grid as one image; a sample is valid where all of them are.

    Args:
        sources: At least one, in the order of the channels.

    Raises:
        GridMismatch: An image does not lie on the first one's grid.
    """

    def __init__(self, sources: list[Source]) -> None:
        first = sources[0]
        for other in sources[1:]:
            first.grid.require_like(other.grid, other.uri)
        self._sources, self.first = sources, first
        self.uri = ", ".join(s.uri for s in sources)
        self.grid = first.grid
        names = [name for s in sources for name in s.channels]
        if len(set(names)) < len(names):
            names = [f"{i}: {n}" for i, s in enumerate(sources, 1) for n in s.channels]
        self.channels = tuple(names)
        self.dtype = np.result_type(*(s.dtype for s in sources))
        self.nodata = None
        self.blocks, self.lengths = first.blocks, first.lengths
        self.working_bytes = sum(s.working_bytes for s in sources)

    def read(self, box: Box) -> NDArray[Any]:
        """Return the samples of ``box``, image after image."""
        return np.concatenate([s.read(box) for s in self._sources]).astype(self.dtype, copy=False)

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where every image was measured."""
        return np.asarray(np.logical_and.reduce([s.valid(box) for s in self._sources]))

    def fingerprint(self) -> dict[str, Any]:
        """Return the identities of all images."""
        return {"stack": [s.fingerprint() for s in self._sources]}

    def files(self) -> list[Path]:
        """Return the files of all images."""
        return [file for source in self._sources for file in source.files()]

    def close(self) -> None:
        """Close all images."""
        for source in self._sources:
            source.close()
