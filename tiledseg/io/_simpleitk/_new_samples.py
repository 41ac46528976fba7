"""Samples of a new volume in an open file, in the order of its format, written by box.

With ordinary reads and writes: a memory map would count every page it ever touched as resident,
and a full disk would kill the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from .._base import SinkSpec
from .._deflate import PIECE


class NewSamples(AbstractContextManager["NewSamples"]):
    """Samples in a file that is closed with this.

    Args:
        file: Open to read and write; it is made as long as the samples need.
        spec: What comes.
        offset: Byte of the first sample.
        interleaved: Whether the bands of a sample lie together, or one band follows the other.
    """

    def __init__(self, file: IO[bytes], spec: SinkSpec, offset: int, interleaved: bool) -> None:
        self._file, self._offset, self._interleaved = file, offset, interleaved
        self._dtype = spec.dtype.newbyteorder("<")
        self._depth, self._height, width = spec.grid.shape
        bands = len(spec.bands)
        self._step = bands if interleaved else 1
        self._row = width * self._step
        self._size = spec.grid.box.size * bands * self._dtype.itemsize
        file.truncate(offset + self._size)

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Store ``values``, (bands, *box.shape), at ``box``.

        Fast where the box holds whole rows; else the rows are read, changed and written again.
        """
        _, top, left = box.start
        for z, plane in enumerate(np.moveaxis(values, 1, 0), box.start[0]):
            frames = np.moveaxis(plane, 0, -1)[np.newaxis] if self._interleaved else plane
            for frame, samples in enumerate(frames):
                rows = samples.reshape(box.shape[1], -1)
                place = ((frame * self._depth + z) * self._height + top) * self._row
                self._put(place, left * self._step, rows)

    def _put(self, place: int, left: int, rows: NDArray[Any]) -> None:
        """Store parts of rows, (y, samples), that begin with the sample ``place`` of the file."""
        at = self._offset + place * self._dtype.itemsize
        height, width = rows.shape
        if width < self._row:
            self._file.seek(at)
            stored = self._file.read(height * self._row * self._dtype.itemsize)
            whole = np.frombuffer(stored, self._dtype).reshape(height, self._row).copy()
            whole[:, left : left + width] = rows
            rows = whole
        self._file.seek(at)
        self._file.write(rows.astype(self._dtype, copy=False).tobytes())

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def pieces(self) -> Iterator[bytes]:
        """Yield all samples, some at a time."""
        self._file.seek(self._offset)
        while piece := self._file.read(PIECE):
            yield piece

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
