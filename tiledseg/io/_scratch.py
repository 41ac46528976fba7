"""Numbers that wait on disk: in a file without a name, which ends with the process, or a named one.

Any thread may read; one at a time appends.
"""

from __future__ import annotations

import os
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
        name: Of the file, which is gone on with where it is there; None: it has none.

    Attributes:
        size: Bytes so far.

    Raises:
        OutputFailed: The folder cannot be written.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self._folder, self._file = folder, -1
        with writing(folder):
            if name is None:
                with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                    self._file = os.dup(file.fileno())
            else:
                # A link would have what it leads to cut off and written over.
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(folder / name, flags, 0o666)
            self.size = os.fstat(self._file).st_size

    def append(self, values: NDArray[Any]) -> int:
        """Add the numbers of an array, in C order, and return the place of the first byte.

        Raises:
            OutputFailed: There is no room.
        """
        begin, data = self.size, np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        with writing(self._folder):
            while len(data):
                written = os.pwrite(self._file, data, self.size)
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
            while at < len(view):
                many = os.preadv(self._file, [view[at:]], begin + at)
                if not many:
                    raise OSError("what waited on disk is cut off")
                at += many
        return values

    def cut(self, size: int) -> None:
        """Keep the first bytes only."""
        with writing(self._folder):
            os.ftruncate(self._file, size)
        self.size = size

    def copy_to(self, file: BinaryIO) -> None:
        """Write everything into a file."""
        for begin in range(0, self.size, _COPIED):
            file.write(self.read(begin, min(_COPIED, self.size - begin), np.uint8).data)

    def close(self) -> None:
        """Give the room back, unless it has a name."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
