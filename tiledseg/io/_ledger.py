"""What steps gave, in their order, in a file that a later process can go on with.

A step is a function of its item alone. So several may be done at the same time, and those that an
earlier process has done are read instead. The file is a row of entries: 8 bytes that say it is one,
a checksum of the rest, its bytes, the number of arrays; kind, axes and two lengths of each array;
the arrays, each from a multiple of 8 bytes on. What a killed process left half done is cut off.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._scratch import Scratch

T = TypeVar("T")
R = TypeVar("R")
Arrays = tuple[NDArray[Any], ...]

_KINDS = tuple(np.dtype(name) for name in ("u1", "i4", "i8", "f8", "?"))
#: How an entry begins; another number for other entries.
_MARK = 0x31_7265_6764_654C
_HEAD, _EACH = 4, 4
#: Arrays that an entry may have, and bytes that are looked through at a time.
_MOST, _LOOKED = 64, 1 << 20


class Entry:
    """What a step gave.

    Args:
        scratch: Where it is.
        places: Place, kind and extent of every array.
        arrays: They themselves, where they are at hand.
    """

    def __init__(
        self,
        scratch: Scratch,
        places: list[tuple[int, np.dtype[Any], tuple[int, ...]]],
        arrays: Arrays = (),
    ) -> None:
        self._scratch, self._places, self._arrays = scratch, places, arrays

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> NDArray[Any]:
        if self._arrays:
            return self._arrays[number]
        place, kind, extent = self._places[number]
        return self._scratch.read(place, int(np.prod(extent)), kind).reshape(extent)

    def place(self, number: int) -> int:
        """Return the place in the file of an array's first byte, a multiple of 8."""
        return self._places[number][0]

    def at_rest(self) -> Entry:
        """Return the entry without its arrays, which are read when they are asked for."""
        return Entry(self._scratch, self._places)


class Ledger:
    """Entries of steps that follow one another.

    Args:
        folder: Where there is room.
        name: Of the file; entries that it has are taken for those of the first steps. None: it has
            no name, and ends with the process.
        workers: Steps that are done at the same time, in threads.

    Attributes:
        resumed: Entries that were there.
        workers: Steps that are done at the same time.

    Raises:
        OutputFailed: The folder cannot be written.
    """

    def __init__(self, folder: Path, name: str | None = None, workers: int = 1) -> None:
        self._scratch = Scratch(folder, name)
        self._there = deque(_entries(self._scratch))
        self.resumed = len(self._there)
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers, "step") if workers > 1 else None

    def steps(self, step: Callable[[T], Arrays], items: Iterable[T]) -> Iterator[Entry]:
        """Do a step per item, or read what it gave, and yield the entries in order.

        Args:
            step: What is to be done; it must depend on its item alone.
            items: The items, which are the same in every process that goes on.

        Raises:
            OutputFailed: There is no room.
        """
        left = iter(items)
        while self._there and next(left, self) is not self:
            yield self._there.popleft()
        for arrays in self.passing(step, left):
            yield self._write(arrays)

    def passing(self, step: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Do a step per item and yield what they give in order; it is not kept."""
        if self._pool is None:
            yield from map(step, items)
            return
        ahead: deque[Future[R]] = deque()
        try:
            for item in items:
                ahead.append(self._pool.submit(step, item))
                if len(ahead) > self.workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def read(self, place: int, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """Return numbers of the file from a place on, whatever entries they are of."""
        return self._scratch.read(place, count, dtype)

    def _write(self, arrays: Arrays) -> Entry:
        told = [(_KINDS.index(a.dtype), a.ndim, *a.shape, *[1] * (2 - a.ndim)) for a in arrays]
        table = np.array(told, np.int64).reshape(-1)
        parts = [np.ascontiguousarray(a).reshape(-1).view(np.uint8) for a in arrays]
        padded = [np.zeros(-len(part) % 8, np.uint8) for part in parts]
        rest = [
            table.view(np.uint8),
            *(x for pair in zip(parts, padded, strict=True) for x in pair),
        ]
        check, size = 0, 0
        for part in rest:
            check, size = zlib.crc32(part.data, check), size + len(part)
        begin = self._scratch.append(np.array([_MARK, check, size, len(arrays)], np.int64))
        for part in rest:
            self._scratch.append(part)
        return Entry(self._scratch, _places(begin + 8 * _HEAD, table.reshape(-1, _EACH)), arrays)

    def close(self) -> None:
        """Wait for the steps in progress, and close the file; one without a name is gone."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _entries(scratch: Scratch) -> Iterator[Entry]:
    """Yield the entries of a file that are whole, and cut off what follows."""
    at = 0
    while True:
        table = _table(scratch, at)
        if table is None:
            scratch.cut(at)
            return
        places = _places(at + 8 * _HEAD, table)
        yield Entry(scratch, places)
        at = _end(places, at + 8 * (_HEAD + table.size))


def _table(scratch: Scratch, at: int) -> NDArray[np.int64] | None:
    """Return what an entry tells of its arrays; None where there is none, or it is damaged."""
    if at + 8 * _HEAD > scratch.size:
        return None
    mark, check, size, count = scratch.read(at, _HEAD, np.int64).tolist()
    begin = at + 8 * _HEAD
    if mark != _MARK or not 0 <= count <= _MOST or not 0 <= size <= scratch.size - begin:
        return None
    found = 0
    for part in range(begin, begin + size, _LOOKED):
        block = scratch.read(part, min(_LOOKED, begin + size - part), np.uint8)
        found = zlib.crc32(block.data, found)
    if found != check or 8 * _EACH * count > size:
        return None
    table: NDArray[np.int64] = scratch.read(begin, _EACH * count, np.int64).reshape(-1, _EACH)
    told = (table >= 0).all() and (table[:, :2] < (len(_KINDS), 3)).all()
    whole = told and _end(_places(begin, table), begin + 8 * table.size) == begin + size
    return table if whole else None


def _places(
    begin: int, table: NDArray[np.int64]
) -> list[tuple[int, np.dtype[Any], tuple[int, ...]]]:
    """Return where the arrays of an entry lie, and what they are.

    Args:
        begin: Place of the table.
        table: Of the arrays.
    """
    places, at = [], begin + 8 * table.size
    for kind, axes, *lengths in table.tolist():
        places.append((at, _KINDS[kind], tuple(lengths[:axes])))
        at = _end(places[-1:], at)
    return places


def _end(places: list[tuple[int, np.dtype[Any], tuple[int, ...]]], begin: int) -> int:
    """Return the place behind the last of some arrays, or where they would begin."""
    if not places:
        return begin
    place, kind, extent = places[-1]
    size = int(np.prod(extent)) * kind.itemsize
    return place + size + -size % 8
