"""Blocks of a label volume -> the cubes of every label's surface, which wait on disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..budget import format_bytes
from ..components import NODATA, block_boxes, read_labels, require_class_map
from ..errors import BudgetExceeded, ConfigError
from ..grid import Grid
from ..io import Scratch, Source
from ._kernels import crossed
from ._mesh import BYTES_PER_CUBE, Mesh
from ._weld import weld

Ints = NDArray[np.int64]
OnShare = Callable[[float], None]
#: Voxels of a block where nothing is said.
_BLOCK = 1 << 21
#: Bytes per voxel of a block: as read, as labels, which are valid, with neighbours, and cubes.
_VOXEL_BYTES = 40
#: Voxels of a block of one row, by its cubes: two rows of two planes.
_OVERLAP = 4
#: Labels are 0 to one less.
_LABELS = 1 << 16


class FoundSurfaces:
    """What the surfaces of a volume are made of. To be closed.

    Args:
        grid: Of the volume.
        folder: Where a nameless file may lie: 8 bytes for every cube of every surface.

    Attributes:
        voxels: Of every label, (65536,).
        cubes: Of every label's surface, (65536,).
    """

    def __init__(self, grid: Grid, folder: Path) -> None:
        self.grid = grid
        self.voxels, self.cubes = np.zeros(_LABELS, np.int64), np.zeros(_LABELS, np.int64)
        self._runs: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._scratch = Scratch(folder)

    def add(self, labels: NDArray[np.int32], codes: Ints) -> None:
        """Keep cubes of some block."""
        order = np.argsort(labels, kind="stable")
        held, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
        begin = self._scratch.append(codes[order])
        for label, at, count in zip(held.tolist(), first.tolist(), counts.tolist(), strict=True):
            self._runs[label].append((begin + 8 * at, count))
            self.cubes[label] += count

    def mesh(self, label: int) -> Mesh:
        """Return the closed surface around the voxels of a label, in world coordinates.

        Vertices come by their place in the volume and faces by their cube's, whatever the blocks.
        """
        parts = [self._scratch.read(at, count, np.int64) for at, count in self._runs[label]]
        codes = np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
        return weld(codes, self.grid)

    def close(self) -> None:
        """Give the file back."""
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def find_surfaces(
    source: Source,
    wanted: NDArray[np.bool_],
    folder: Path,
    *,
    block: tuple[int, int, int] | None = None,
    room: int | None = None,
    on_share: OnShare | None = None,
) -> FoundSurfaces:
    """Find where the surfaces of labels run.

    Memory: some 40 bytes per voxel of a block. What lies outside of the volume, or was not
    measured, is outside of every surface.

    Args:
        source: The volume: one channel of whole numbers of 0 to 65535.
        wanted: Labels to look at, (65536,).
        folder: Where a nameless file may lie.
        block: Cubes of a block; None takes whole planes, or as many rows of one as there is room
            for. The result does not depend on it.
        room: Bytes that a block may take; None: as many as one of usual size needs.
        on_share: Told the share that is done, 0 to 1.

    Raises:
        ConfigError: It is no volume of labels.
        BudgetExceeded: There is no room for a row of it.
        DamagedInput: It cannot be read.
        OutputFailed: The file has no room.
    """
    require_class_map(source)
    if source.grid.ndim != 3:
        raise ConfigError(
            f"{source.uri} is an image of 2 axes, surfaces are made of volumes; make polygons of "
            "it (tiledseg vectorize)"
        )
    z, y, x = source.grid.shape
    cubes = (z + 1, y + 1, x + 1)
    block = block or _blocks(source, cubes, room)
    found, done = FoundSurfaces(source.grid, folder), 0
    try:
        for box in block_boxes(cubes, block):
            labels = _labels_about(source, box, wanted)
            own = labels[1:, 1:, 1:]  # every voxel is the last corner of one cube
            found.voxels += np.bincount(own[own >= 0], minlength=_LABELS)
            found.add(*crossed(labels, box.start, cubes))
            done += box.size
            if on_share is not None:
                on_share(done / (cubes[0] * cubes[1] * cubes[2]))
    except BaseException:
        found.close()
        raise
    return found


def surfaces_need(shape: tuple[int, ...]) -> int:
    """Return the bytes that the surfaces of a volume usually need: a block, and one surface.

    How large one is, only the volume tells; this is that of a body that fills it, twice as rugged
    as a box.
    """
    z, y, x = shape
    sides = 2 * (z * y + y * x + z * x)
    block = max(min(_BLOCK, prod(shape)), 2 * _OVERLAP * (x + 1))
    return _VOXEL_BYTES * block + BYTES_PER_CUBE * 2 * sides


def _labels_about(source: Source, box: Box, wanted: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the labels at the corners of a box of cubes, `NODATA` where none is wanted."""
    # Cube c lies between voxels c - 1 and c.
    corners = Box(tuple(a - 1 for a in box.start), box.stop)
    inside = corners.intersect(source.grid.box)
    read = read_labels(source, inside)
    read[~wanted[read] | (read == NODATA)] = NODATA
    labels = np.full(corners.shape, NODATA, np.int32)
    labels[inside.relative_to(corners).slices] = read
    return labels


def _blocks(source: Source, cubes: tuple[int, int, int], room: int | None) -> tuple[int, int, int]:
    """Return blocks of whole planes, in multiples of the file's own; of rows of large planes."""
    deep, high, wide = cubes
    least = _OVERLAP * _VOXEL_BYTES * wide
    if room is not None and room < least:
        raise BudgetExceeded(
            f"{source.uri} is read in rows, which need {format_bytes(least)}, and "
            f"{format_bytes(max(room, 0))} of the budget are left: raise the budget"
        )
    most = _BLOCK if room is None else min(_BLOCK, room // (_OVERLAP * _VOXEL_BYTES))
    planes = most // (high * wide)
    if not planes:
        return 1, max(1, most // wide), wide
    own = source.blocks[0]
    return min(deep, max(planes // own * own, min(planes, own))), high, wide
