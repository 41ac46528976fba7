"""Arrays that wait on disk until they are asked for, rows at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..io import writing

Parts = NDArray[np.int32]


class Spill:
    """A nameless file of int32 arrays, gone when it is closed.

    Args:
        folder: Where it has room.

    Raises:
        OutputFailed: The folder cannot be written, or is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._end = 0
        with writing(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - kept open

    def add(self, parts: Parts) -> int:
        """Keep an array, and return where it begins."""
        begin = self._end
        with writing(self._folder):
            self._file.seek(begin)
            self._file.write(np.ascontiguousarray(parts, np.int32).data)
        self._end += 4 * parts.size
        return begin

    def rows(self, begin: int, shape: tuple[int, ...], first: int, end: int) -> Parts:
        """Return the rows ``first`` to ``end`` of an array of a shape."""
        across = int(np.prod(shape[1:]))
        with writing(self._folder):  # what is still buffered is written first
            self._file.seek(begin + 4 * across * first)
            data = self._file.read(4 * across * (end - first))
        return np.frombuffer(data, np.int32).reshape(end - first, *shape[1:])

    def close(self) -> None:
        """Give the room back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
