"""Source and Sink: the contracts every kind of file keeps, and reading beyond the border."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..grid import Grid
from ..labels import ClassSchema
from ..tiling import Padding

Array = NDArray[Any]
Mask = NDArray[np.bool_]


class Source(ABC):
    """Where samples come from: one image on one grid, read box by box.

    Attributes:
        uri: What the user asked for, for messages and the report.
        grid: Where the samples lie.
        channels: Name of every channel, never empty.
        dtype: dtype of what `read` returns.
        nodata: Declared nodata value, NaN included, or None.
        blocks: Extent of the natural unit of reading per axis (file blocks, chunks).
        palette: Colour of every index of a paletted image of one channel, (256, 3), or None.
        scale: Factor from what `read` returns to scores, where the file states one, or None.
        lengths: Distance between samples as the file states it, array order, where it states one
            besides the affine of the grid; in the grid's unit.
        working_bytes: Host memory held besides what `read` returns (caches, decoded files).

    `read` and `valid` may be called from several threads at once; results belong to the caller.
    A file that turns out to be unreadable raises `DamagedInput`, from any of them.
    """

    uri: str
    grid: Grid
    channels: tuple[str, ...]
    dtype: np.dtype[Any]
    nodata: float | None
    blocks: tuple[int, ...]
    palette: NDArray[np.uint8] | None = None
    scale: float | None = None
    lengths: tuple[float, ...] | None = None
    working_bytes: int = 0

    @abstractmethod
    def read(self, box: Box) -> Array:
        """Return the samples of ``box``, which lies inside the image: (c, *box.shape), `dtype`."""

    @abstractmethod
    def valid(self, box: Box) -> Mask:
        """Return where the file says that samples of ``box`` were measured: bool, box.shape.

        Only mask band, alpha and declared nodata count; a sample is invalid where no channel was
        measured. NaN and infinity in the data are judged by `tiledseg.normalize.measured`.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Return JSON values that change when the content does (size, time, hash)."""

    def files(self) -> list[Path]:
        """Return the local files, or folders of an array, that the samples come from."""
        return []

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Give back files and scratch space; the source is not used afterwards."""

    def overview(self, limit: int) -> tuple[Array, Mask]:
        """Return a decimated image, (c, *s) with every s <= ``limit``, and where it is valid.

        Samples are picked, not averaged: along an axis of n the m = min(n, limit) samples at
        ``floor((i + 0.5) n / m)``. The whole image is exact where it is small enough.
        """
        picks = [centred_picks(n, limit) for n in self.grid.shape]
        if all(n <= limit for n in self.grid.shape):
            return self.read(self.grid.box), self.valid(self.grid.box)
        rows: list[Array] = []
        masks: list[Mask] = []
        inner = np.ix_(*picks[1:])
        for low in range(0, len(picks[0]), max(1, self.blocks[0])):
            some = picks[0][low : low + max(1, self.blocks[0])]
            for first, last in _runs(some, self.blocks[0]):
                box = self.grid.box.along(0, int(some[first]), int(some[last - 1]) + 1)
                at = some[first:last] - some[first]
                rows.append(_picked(self.read(box)[:, at], inner))
                masks.append(_picked(self.valid(box)[at], inner))
        return np.concatenate(rows, axis=1), np.concatenate(masks, axis=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def centred_picks(extent: int, limit: int) -> NDArray[np.int64]:
    """Return at most ``limit`` sample indices spread over ``extent``, in the middle of their part.

    >>> centred_picks(10, 4).tolist()
    [1, 3, 6, 8]
    """
    m = min(extent, limit)
    return ((np.arange(m) + 0.5) * extent / m).astype(np.int64)


def _picked(array: NDArray[Any], picks: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Return ``array`` at `numpy.ix_` picks of its last axes."""
    lead: tuple[Any, ...] = (...,)
    return np.asarray(array[lead + picks])


def _runs(picks: NDArray[np.int64], reach: int) -> list[tuple[int, int]]:
    """Split picks into runs that one read of at most ``reach`` rows covers: [(first, stop)]."""
    runs: list[tuple[int, int]] = []
    first = 0
    for i in range(1, len(picks) + 1):
        if i == len(picks) or picks[i] - picks[first] >= reach:
            runs.append((first, i))
            first = i
    return runs


def read_padded(source: Source, box: Box, padding: Padding) -> tuple[Array, Mask]:
    """Read a box that may stick out of the image.

    A padded sample depends on the image alone, never on the box: reflection is about the image's
    own border.

    Args:
        source: The image.
        box: What to read.
        padding: ``reflect`` repeats the image mirrored at its first and last sample; ``edge``
            repeats these samples; ``zero`` marks what is outside as invalid, so that it becomes 0
            in model units.

    Returns:
        Samples (c, *box.shape) and where they are valid (*box.shape).
    """
    picks = [
        np.arange(a, b).clip(0, n - 1) if padding == "edge" else _reflected(np.arange(a, b), n)
        for a, b, n in zip(box.start, box.stop, source.grid.shape, strict=True)
    ]
    low = tuple(int(p.min()) for p in picks)
    inside = Box(low, tuple(int(p.max()) + 1 for p in picks))
    values, valid = source.read(inside), source.valid(inside)
    if inside == box:
        return values, valid
    at = np.ix_(*(p - a for p, a in zip(picks, low, strict=True)))
    values, valid = _picked(values, at), valid[at]
    if padding == "zero":
        outside = np.ones(box.shape, bool)
        outside[box.intersect(source.grid.box).relative_to(box).slices] = False
        valid = valid & ~outside
    return values, valid


def _reflected(index: NDArray[np.int64], extent: int) -> NDArray[np.int64]:
    """Fold indices into [0, extent) by mirroring at the first and last sample."""
    if extent == 1:
        return np.zeros_like(index)
    period = 2 * (extent - 1)
    folded = index % period
    return np.minimum(folded, period - folded)


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """What a sink will be given.

    Args:
        grid: Grid of the output, the source's own.
        dtype: Sample type.
        bands: Name of every band; a class map has one.
        nodata: Value that means "not measured", or None.
        schema: The classes, for class maps: names, colours, background.
        scale: Factor from stored integers to scores (scores = stored * scale), or None.
    """

    grid: Grid
    dtype: np.dtype[Any]
    bands: tuple[str, ...]
    nodata: float | None
    schema: ClassSchema | None = None
    scale: float | None = None


class Sink(ABC):
    """Where a result goes: whole under its final name, or not at all.

    Life: ``prepare``, ``write`` (any number), then ``commit`` or ``abort``. Until ``commit`` only a
    temporary file in the same folder exists; ``commit`` syncs and renames. ``write`` is called
    from one thread; boxes are disjoint and cover the grid. A failure to write raises
    `OutputFailed` naming the path.
    """

    def __init__(self, path: Path, spec: SinkSpec) -> None:
        self.path = path
        self.spec = spec

    @abstractmethod
    def prepare(self) -> None:
        """Create the temporary file and check that the folder can be written."""

    @abstractmethod
    def write(self, box: Box, values: Array) -> None:
        """Store ``values``, (bands, *box.shape) of the spec's dtype, at ``box``."""

    @abstractmethod
    def commit(self) -> list[Path]:
        """Finish, rename into place, and return the files made, the main one first."""

    @abstractmethod
    def abort(self) -> None:
        """Remove everything unfinished; harmless after ``commit``."""
