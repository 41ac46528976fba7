"""An image in model units, for models whose images are normalised before they are resampled."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..box import Box
from ..normalize import Normalization, measured
from ._base import Array, Mask, Source
from ._derived import DerivedSource
from ._nonzero import FilledMask


class NormalizedSource(DerivedSource):
    """An image in model units: float32, NaN where it was not measured.

    Args:
        inner: The image.
        normalization: Fitted to it.
        mask: Outside of it some channels are 0; None: nowhere.
        masked: Which channels these are.
    """

    def __init__(
        self,
        inner: Source,
        normalization: Normalization,
        mask: FilledMask | None = None,
        masked: tuple[int, ...] = (),
    ) -> None:
        super().__init__(inner)
        self._normalization, self._mask, self._masked = normalization, mask, masked
        self.dtype, self.nodata = np.dtype(np.float32), None
        self.working_bytes = inner.working_bytes + (0 if mask is None else mask.nbytes)

    def read(self, box: Box) -> Array:
        """Return the samples of ``box``."""
        values = self.inner.read(box)
        valid = measured(values, self.inner.valid(box))
        found = self._normalization(values, valid)
        if self._mask is not None:
            outside = ~self._mask.read(box)
            for channel in self._masked:
                found[channel][outside] = 0
        found[:, ~valid] = np.nan
        return found

    def overview(self, limit: int) -> tuple[Array, Mask]:
        """Return the image's own overview, in model units."""
        values, valid = self.inner.overview(limit)
        seen = measured(values, valid)
        found = self._normalization(values, seen)
        found[:, ~seen] = np.nan
        return found, valid

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of the image and of what it is normalised by."""
        return {**self.inner.fingerprint(), "normalized": self._normalization.to_list()}
