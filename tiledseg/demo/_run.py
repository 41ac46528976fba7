"""Running the demo: make, segment, compare with the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from ..io import SinkSpec, create_sink, read_schema, writing
from ..pipeline import evaluate, segment
from ._phantom import make_phantom
from ._scene import CHANNELS, make_scene

#: The demo's own images are never trained on.
DEMO_SEED = 2024
TRAINING_SEEDS = range(100, 400)
MODELS = Path(__file__).parent / "models"
_MEMORY = "2.5GB"
#: Label of samples that were not measured.
_NONE = 255

Say = Callable[[str], None]


def run(out: Path, say: Say) -> None:
    """Make a scene and a volume with known truth, segment both, and tell the accuracy.

    Args:
        out: Folder for images, results and reports; made if it is not there.
        say: Told what happens, line by line.

    Raises:
        OutputFailed: A file cannot be written.
    """
    began = time.perf_counter()
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    _scene(out, say)
    _volume(out, say)
    say(f"done in {time.perf_counter() - began:.0f} s; open {out / 'landcover.report'}/report.html")


def _scene(out: Path, say: Say) -> None:
    say("making a scene of 4096 x 4096 samples with known truth")
    made = make_scene(DEMO_SEED)
    image = out / "scene.tif"
    _store(image, made.image, made.grid, CHANNELS, 0)
    say(f"segmenting {image} within {_MEMORY}")
    result = segment(
        image,
        MODELS / "scene",
        out / "landcover.tif",
        budget={"memory": _MEMORY},
        output={"polygons": str(out / "landcover.gpkg"), "scores": str(out / "scores.tif")},
        fresh=True,
    )
    say(result.summary())
    truth = np.where(made.valid, made.truth, _NONE)
    _measure(out / "landcover.tif", truth, made.grid, say)


def _volume(out: Path, say: Say) -> None:
    say("making a CT-like volume with known truth")
    made = make_phantom(DEMO_SEED)
    image = out / "ct.nii.gz"
    _store(image, made.image[np.newaxis], made.grid, ("CT",), None)
    say(f"segmenting {image} within {_MEMORY}")
    result = segment(
        image,
        MODELS / "organs",
        out / "organs.nii.gz",
        budget={"memory": _MEMORY},
        output={"surfaces": str(out / "surfaces")},
        fresh=True,
    )
    say(result.summary())
    _measure(out / "organs.nii.gz", made.truth, made.grid, say)


def _store(
    path: Path,
    image: NDArray[Any],
    grid: Grid,
    channels: tuple[str, ...],
    nodata: float | None,
) -> None:
    """Write an image as a user would have it."""
    sink = create_sink(path, SinkSpec(grid, image.dtype, channels, nodata))
    sink.prepare()
    sink.write(grid.box, image)
    sink.commit()


def _measure(found: Path, truth: NDArray[Any], grid: Grid, say: Say) -> None:
    """Write the truth beside a map, and say how near the map comes to it."""
    schema = read_schema(found)
    known = found.with_name(found.name.replace(".", ".truth.", 1))
    sink = create_sink(known, SinkSpec(grid, np.dtype(np.uint8), ("truth",), _NONE, schema))
    sink.prepare()
    sink.write(grid.box, truth[np.newaxis].astype(np.uint8))
    sink.commit()
    say(evaluate(found, known, metrics="classes").summary())
