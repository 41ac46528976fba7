"""Numbers that wait on disk, in a file without a name that ends with the process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._files import writing

#: Bytes that are copied at a time.
_COPIED = 1 << 20


class Scratch:
    """Arrays, one after the other. Nothing is buffered, so closing it never fails.

    Args:
        folder: Where it has room.

    Attributes:
        size: Bytes so far.

    Raises:
        OutputFailed: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.size = folder, 0
        with writing(folder):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - kept open

    def append(self, values: NDArray[Any]) -> int:
        """Add the numbers of an array, in C order, and return the place of the first byte.

        Raises:
            OutputFailed: There is no room.
        """
        begin, data = self.size, np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        with writing(self._folder):
            self._file.seek(begin)
            while len(data):
                written = self._file.write(data)
                data, self.size = data[written:], self.size + written
        return begin

    def read(self, begin: int, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """Return numbers, (count,).

        Args:
            begin: Place of the first byte.
            count: How many.
            dtype: What they are.
        """
        values, at = np.empty(count, dtype), 0
        view = values.view(np.uint8).data
        with writing(self._folder):
            self._file.seek(begin)
            while at < len(view):
                many = self._file.readinto(view[at:])
                if not many:
                    raise OSError("what waited on disk is cut off")
                at += many
        return values

    def copy_to(self, file: BinaryIO) -> None:
        """Write everything into a file."""
        for begin in range(0, self.size, _COPIED):
            file.write(self.read(begin, min(_COPIED, self.size - begin), np.uint8).data)

    def close(self) -> None:
        """Give the room back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
