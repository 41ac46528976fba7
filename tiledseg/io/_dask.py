"""Dask arrays in and out; the only door to dask."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from ..box import Box
from ..errors import ConfigError
from ..grid import Grid
from ._base import Source
from ._channels import choose_channels
from ._memory import differs_from, numeric_dtype


class DaskSource(Source):
    """A dask array, computed box by box in the thread that reads.

    Args:
        array: Channels first, (c, *spatial).
        grid: Where its samples lie; None means nowhere in particular.
        channels: Names; None numbers them.
        nodata: Value that means "not measured", or None.
        wanted: Channels to use, by number or name.

    Raises:
        ConfigError: An extent of the array is not known.
    """

    def __init__(
        self,
        array: Any,
        grid: Grid | None = None,
        channels: tuple[str, ...] | None = None,
        nodata: float | None = None,
        wanted: tuple[int | str, ...] | None = None,
    ) -> None:
        if any(np.isnan(n) for n in array.shape):
            raise ConfigError(
                f"dask array of shape {array.shape} cannot be cut into boxes: its extent is not "
                "known; call compute_chunk_sizes() on it first"
            )
        names = channels or tuple(f"channel {i}" for i in range(1, array.shape[0] + 1))
        chosen = choose_channels(names, wanted)
        self._array = array if wanted is None else array[list(chosen)]
        self.uri = "dask array"
        self.grid = grid or Grid.local(tuple(int(n) for n in array.shape[1:]))
        self.channels = tuple(names[i] for i in chosen)
        self.dtype = numeric_dtype(array.dtype, self.uri)
        self.nodata = nodata
        self.blocks = tuple(max(c) for c in array.chunks[1:])

    def read(self, box: Box) -> NDArray[Any]:
        """Compute the samples of ``box``."""
        part = self._array[(slice(None), *box.slices)]
        return np.array(part.compute(scheduler="synchronous"), dtype=self.dtype)

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where any channel is not masked and differs from the declared nodata value."""
        if self.nodata is None and not isinstance(self._array._meta, np.ma.MaskedArray):
            return np.ones(box.shape, dtype=np.bool_)
        part = self._array[(slice(None), *box.slices)]
        return differs_from(part.compute(scheduler="synchronous"), self.nodata)

    def fingerprint(self) -> dict[str, Any]:
        """Return dask's own name for the computation."""
        return {"token": tokenize(self._array), "shape": list(self._array.shape)}


def as_dask(source: Source) -> Any:
    """Return a source as a lazy dask array, (c, *spatial), in chunks of whole file blocks."""
    blocks = [
        min(n, max(b, 512 // b * b)) for n, b in zip(source.grid.shape, source.blocks, strict=True)
    ]
    chunks = ((len(source.channels),), *da.core.normalize_chunks(blocks, source.grid.shape))

    def load(block_info: Any = None) -> NDArray[Any]:
        places = block_info[None]["array-location"][1:]
        box = Box(tuple(int(a) for a, _ in places), tuple(int(b) for _, b in places))
        return source.read(box)

    return da.map_blocks(load, chunks=chunks, dtype=source.dtype, meta=np.empty((0,), source.dtype))
