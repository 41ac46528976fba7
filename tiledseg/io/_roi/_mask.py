"""The samples that another image marks."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...box import Box
from ...errors import ConfigError, GridMismatch
from ...grid import Grid
from ...normalize import measured
from .._base import Mask, Source
from ._base import PIECE, Roi, flat, piece_steps


class MaskRoi(Roi):
    """Samples where another image on the same grid is measured and not zero.

    Args:
        grid: Grid of the image.
        source: The mask, of one channel; closed by `close`.

    Raises:
        ConfigError: The mask has several channels.
        GridMismatch: It does not lie on the image's grid.
    """

    def __init__(self, grid: Grid, source: Source) -> None:
        if len(source.channels) != 1:
            raise ConfigError(
                f"roi {source.uri} must have one channel, found {len(source.channels)} "
                f"({', '.join(source.channels)[:80]}); extract one of them"
            )
        if not grid.like(source.grid):
            raise GridMismatch(
                f"roi {source.uri} must lie on the image's grid: found {_placed(source.grid)}; "
                f"expected {_placed(grid)}; resample it first (gdalwarp, or resample in 3D Slicer)"
            )
        self._source = source
        self._steps = piece_steps(source.grid.shape, source.blocks, PIECE)
        # What was read, a reader's copy, validity, and finite numbers.
        piece = prod(self._steps) * (2 * source.dtype.itemsize + 8)
        self.working_bytes = source.working_bytes + piece

    def mask(self, box: Box) -> Mask:
        """Return where samples of ``box`` are measured and not zero."""
        wanted = np.zeros(box.shape, dtype=np.bool_)
        for piece in box.intersect(self._source.grid.box).pieces(self._steps):
            values = self._source.read(piece)
            seen = measured(values, self._source.valid(piece))
            wanted[piece.relative_to(box).slices] = seen & (values[0] != 0)
        return wanted

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of the mask."""
        return {"roi": "mask", "nodata": repr(self._source.nodata), **self._source.fingerprint()}

    def files(self) -> list[Path]:
        """Return the files of the mask."""
        return self._source.files()

    def close(self) -> None:
        """Close the mask."""
        self._source.close()


def _placed(grid: Grid) -> str:
    crs = grid.space.crs.split('"')[1:2] if grid.space.crs else []
    return f"shape {grid.shape}, bounds {flat(grid.bounds)}, {' '.join([grid.space.kind, *crs])}"
