"""Print by how much a command raises the peak memory of this process, and what it may at most."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
from scipy import ndimage

import tiledseg
from tiledseg.engine import machine
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import SinkSpec, create_sink
from tiledseg.meshes import BYTES_PER_CUBE, DECIMATING_BYTES, find_surfaces

MEGABYTE = 10**6
#: No part of what is measured.
LIBRARIES = (
    *("fast_simplification", "pyogrio", "rasterio", "SimpleITK"),
    *("skimage.measure", "skimage.segmentation"),
)


def write(path: Path, labels: np.ndarray, grid: Grid) -> Path:
    sink = create_sink(path, SinkSpec(grid, labels.dtype, ("class",), 255), "gtiff")
    sink.prepare()
    sink.write(grid.box, labels[None])
    sink.commit()
    return path


def scene(folder: Path, size: int, patch: int, many: int = 6) -> Path:
    """Squares of some classes."""
    classes = np.random.default_rng(0).integers(0, many, (size // patch,) * 2, np.uint8)
    labels = classes.repeat(patch, 0).repeat(patch, 1)
    return write(folder / f"{patch}.tif", labels, Grid.local(labels.shape))


def volume(folder: Path, size: int) -> Path:
    """One class that winds through all of it."""
    noise = np.random.default_rng(0).normal(size=(size,) * 3).astype(np.float32)
    labels = (ndimage.gaussian_filter(noise, 2) > 0).astype(np.uint8)
    grid = Grid.from_centers(labels.shape, (0, 0, 0), (1, 1, 1), space=PATIENT)
    return write(folder / f"{size}.nii.gz", labels, grid)


def measured(command: Callable[[str], object], room: int) -> tuple[int, int]:
    """Return by how much a command grows that is given this room, and the room."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier ones have given back
    budget = str(machine.resident() + room)
    return machine.growth(lambda: command(budget)), room


def instances(folder: Path) -> list[tuple[int, int]]:
    """A large map of small objects, with a table; one of a large object that is split."""
    many, one = scene(folder, 6144, 48), scene(folder, 1024, 8, many=2)
    out, table = folder / "ids.tif", folder / "objects.csv"
    split = {"split": "distance", "connectivity": 8, "panoptic": True}
    tiledseg.instances(scene(folder, 96, 12), out, table, **split)  # compiles

    def parted(memory: str) -> None:
        assert not tiledseg.instances(one, out, table, **split, memory=memory).left

    return [
        measured(lambda b: tiledseg.instances(many, out, table, memory=b), 150 * MEGABYTE),
        measured(parted, 440 * MEGABYTE),
    ]


def surfaces(folder: Path) -> list[tuple[int, int]]:
    """One that is smoothed, and one that is decimated."""
    out, large = folder / "s.glb", volume(folder, 100)
    tiledseg.surfaces(volume(folder, 20), out, smooth=1, decimate=0.5)
    with tiledseg.io.open_source(large, dims=3) as source:
        wanted = np.arange(1 << 16) == 1
        with find_surfaces(source, wanted, folder) as found:
            cubes = int(found.cubes[1])
    spare = 32 * MEGABYTE  # which finding leaves behind
    smooth = BYTES_PER_CUBE * cubes + spare
    decimated = (BYTES_PER_CUBE + DECIMATING_BYTES) * cubes + spare
    return [
        measured(lambda b: tiledseg.surfaces(large, out, smooth=3, memory=b), smooth),
        measured(lambda b: tiledseg.surfaces(large, out, decimate=0.5, memory=b), decimated),
    ]


if __name__ == "__main__":
    for name in LIBRARIES:
        import_module(name)
    made = {"instances": instances, "surfaces": surfaces}[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps(made))
