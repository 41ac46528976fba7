"""A map and its truth, open on one grid, read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...datasets import POLYGON_FILES, LabelSource
from ...errors import ConfigError, GridMismatch, TiledsegError
from ...grid import Grid
from ...io import Source, open_source, read_schema
from ...labels import ClassSchema
from ...objects import ReadSegments
from ._pairs import Pair
from ._segments import ColouredIds, segments_of

#: Samples of a block; what is held for one is some tens of bytes each.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Block:
    """What both say of a box.

    Args:
        box: Where, halo included.
        core: Which samples of it are this block's own.
        truth: Label values.
        found: Those of the map.
        valid: Where there is a truth.
        measured: Where the map has a class.
    """

    box: Box
    core: tuple[slice, ...]
    truth: NDArray[Any]
    found: NDArray[Any]
    valid: NDArray[np.bool_]
    measured: NDArray[np.bool_]


@dataclass(frozen=True)
class Opened:
    """A map and its truth on one grid.

    Args:
        found: The map.
        truth: The truth.
        schema: Classes that one of them was written with, or None.
        ignore: Label values of the truth that mean there is none.
        nodata: Label value of the map that means there is none, besides what it declares.
        segments: What is told of ids of the truth, and of the map, or None.
    """

    found: Source
    truth: Source
    schema: ClassSchema | None
    ignore: tuple[int, ...]
    nodata: int | None
    segments: tuple[ReadSegments | None, ReadSegments | None] = (None, None)

    @property
    def grid(self) -> Grid:
        """The grid of both."""
        return self.found.grid

    def blocks(self, halo: tuple[int, ...] | None = None) -> Iterator[Block]:
        """Read everything, with so many samples around each block as far as there are any."""
        margin = halo or (0,) * self.grid.ndim
        for core in block_boxes(self.grid.shape, self.found.blocks):
            yield self.read(core.grow(margin).intersect(self.grid.box), core)

    def read(self, box: Box, core: Box | None = None) -> Block:
        """Read a box; ``core`` is the part that is its own."""
        truth, found = self.truth.read(box)[0], self.found.read(box)[0]
        if isinstance(self.truth, LabelSource):  # says it with the labels, which are dear to burn
            valid = np.asarray(truth != self.truth.nodata)
        else:
            valid = self.truth.valid(box) & _known(truth)
        measured = self.found.valid(box) & _known(found)
        for value in self.ignore:
            valid &= truth != value
        if self.nodata is not None:
            measured &= found != self.nodata
        own = (box if core is None else core).relative_to(box).slices
        return Block(box, own, truth, found, valid, measured)


@contextmanager
def opened(pair: Pair, ignore: tuple[int, ...], named: bool = False) -> Iterator[Opened]:
    """Open a case.

    Args:
        pair: Which.
        ignore: Label values of the truth that mean there is none.
        named: Whether the user said what ids mean, whatever the files say.

    Raises:
        ConfigError: One of them is missing, or no class map, or an id means another class in each.
        DamagedInput: One of them is not what it claims to be.
        GridMismatch: They do not lie on one grid.
    """
    with _open(pair.found, "map") as found, _open(pair.truth, "truth", found.grid.ndim) as truth:
        _require_one_grid(found, truth)
        own = _schema(pair.found)
        # Volume files cannot declare nodata; tiledseg writes the schema's there.
        nodata = own.nodata if own is not None and found.nodata is None else None
        its = pair.schema or _schema(pair.truth)
        if own is not None and its is not None and not named:
            _require_same_classes(own, its, f"map {found.uri} and truth {truth.uri}")
        told = segments_of(pair.truth), segments_of(pair.found)
        yield Opened(found, truth, own or its, ignore, nodata, told)


@contextmanager
def underlay(pair: Pair, grid: Grid) -> Iterator[tuple[Source | None, str]]:
    """Open the image of a case, for pictures; or say in a sentence why there is none.

    Args:
        pair: The case.
        grid: That of its map.
    """
    if pair.image is None:
        yield None, ""
        return
    with ExitStack() as stack:
        image, problem = None, ""
        try:
            image = _entered(stack, pair.image, grid.ndim)
            if not image.grid.like(grid):
                problem = f"its grid is not that of the map ({image.grid.shape}, {grid.shape})"
        except TiledsegError as error:
            problem = str(error)
        told = f"{pair.name} is drawn without its image: {problem}" if problem else ""
        yield (None if problem else image), told


def _entered(stack: ExitStack, image: Any, dims: int) -> Source:
    """Return an open image that is closed with a stack; one that the caller opened stays open."""
    if isinstance(image, Source):
        return image
    source: Source = image() if callable(image) else _open_file(image, dims)
    return stack.enter_context(source)


def block_boxes(shape: tuple[int, ...], blocks: tuple[int, ...]) -> Iterator[Box]:
    """Return boxes that cover an image, made of whole blocks of its file where they are small.

    >>> [b.shape for b in block_boxes((3000, 5000), (512, 512))][:2]
    [(512, 5000), (512, 5000)]
    """
    extents = [min(b, n) for b, n in zip(blocks, shape, strict=True)]
    room = max(1, _BLOCK)
    for axis in range(len(shape)):  # huge blocks are read in parts, the first axis split first
        others = int(np.prod(extents)) // extents[axis]
        extents[axis] = max(1, min(extents[axis], room // max(1, others)))
    for axis in reversed(range(len(shape))):
        many = room // int(np.prod(extents))
        extents[axis] = min(shape[axis], extents[axis] * max(1, many))
    return Box.of_shape(shape).pieces(tuple(extents))


def _known(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where values are numbers: labels stored as float may be NaN."""
    if values.dtype.kind == "f":
        return np.asarray(np.isfinite(values))
    return np.ones(values.shape, np.bool_)


@contextmanager
def _open(image: Any, what: str, dims: int | None = None) -> Iterator[Source]:
    """Open an image; a source that the caller opened stays open."""
    if isinstance(image, Source):
        _require_labels(image, what)
        yield image
        return
    if callable(image):
        source: Source = image()
    else:
        source = _open_file(image, dims)
        if ColouredIds.holds(source) and segments_of(image) is not None:
            source = ColouredIds(source)
    with source:
        _require_labels(source, what)
        yield source


def _open_file(image: Any, dims: int | None) -> Source:
    axes: Any = dims or getattr(image, "ndim", None)  # of an array: (y, x) or (z, y, x)
    try:
        return open_source(image, dims=axes if axes in (2, 3) else None)
    except TiledsegError:
        if isinstance(image, str | Path) and str(image).lower().endswith(POLYGON_FILES):
            raise ConfigError(
                f"{image} is no raster; burn polygons on the grid of the map first: tiledseg "
                f"rasterize {image} --like MAP --out labels.tif"
            ) from None
        raise


def _require_labels(source: Source, what: str) -> None:
    if len(source.channels) != 1:
        raise ConfigError(
            f"{what} {source.uri} has {len(source.channels)} channels, expected one of labels; "
            "pick it out (gdal_translate -b); for labels as colours give a dataset with a legend"
        )


def _require_same_classes(found: ClassSchema, truth: ClassSchema, both: str) -> None:
    """Refuse ids that stand for another class in the truth, but that which is nothing in both."""
    names = {c.id: c.name for c in truth.unique}
    other = [
        f"{c.id} is {c.name!r:.40} and {names[c.id]!r:.40}"
        for c in found.unique
        if c.id in names
        and not found.background == truth.background == c.id
        and _plain(c.name) != _plain(names[c.id])
    ]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise ConfigError(
            f"{both} name their classes differently: {', '.join(other[:3])}{more}; bring the ids "
            "of one to those of the other, or, where only the names differ, say what ids mean in "
            "both with --classes"
        )


def _plain(name: str) -> str:
    """Return a name without what does not make it another."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _require_one_grid(found: Source, truth: Source) -> None:
    here, there = found.grid, truth.grid
    if here.like(there):
        return
    name = f"truth {truth.uri} must lie on the grid of the map {found.uri}"
    remedy = "resample it first (gdalwarp, or resample in 3D Slicer), by nearest neighbour"
    if here.shape != there.shape:
        raise GridMismatch(
            f"{name}: found {' x '.join(map(str, there.shape))} samples, expected "
            f"{' x '.join(map(str, here.shape))}; {remedy}"
        )
    if here.space != there.space:
        raise GridMismatch(
            f"{name}: found {_space(there)}, expected {_space(here)}; assign the same (gdal_edit), "
            f"or {remedy}"
        )
    raise GridMismatch(
        f"{name}: found bounds {_rounded(there)}, expected {_rounded(here)}; {remedy}"
    )


def _space(grid: Grid) -> str:
    crs = grid.space.crs
    name = crs.split('"')[1] if crs and crs.count('"') > 1 else "no CRS"
    return f"{grid.space.kind} space ({name})"


def _rounded(grid: Grid) -> list[list[float]]:
    return [[float(f"{v:.9g}") for v in pair] for pair in grid.bounds]


def _schema(image: Any) -> ClassSchema | None:
    """Return the classes a file was written with; arrays have none."""
    return read_schema(image) if isinstance(image, str | Path) and "://" not in str(image) else None
