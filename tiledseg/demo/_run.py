"""Running the demo: make, segment, compare with the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from ..io import SinkSpec, create_sink, open_source, writing
from ..pipeline import segment
from ._phantom import CLASSES as ORGANS
from ._phantom import make_phantom
from ._scene import CHANNELS, make_scene
from ._scene import CLASSES as COVERS

#: The demo's own images are never trained on.
DEMO_SEED = 2024
TRAINING_SEEDS = range(100, 400)
MODELS = Path(__file__).parent / "models"
_MEMORY = "2.5GB"

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
    _tell(out / "landcover.tif", np.where(made.valid, made.truth, 255), COVERS, say)


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
    _tell(out / "organs.nii.gz", made.truth, ORGANS, say)


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


def _tell(path: Path, truth: NDArray[Any], names: tuple[str, ...], say: Say) -> None:
    """Compare the file on disk with the truth: accuracy, and Dice per class."""
    with open_source(path) as source:
        found = source.read(source.grid.box)[0]
    known = truth != 255
    say(f"accuracy against the truth: {np.mean(found[known] == truth[known]):.2%}")
    for label, name in enumerate(names):
        a, b = (found == label) & known, (truth == label) & known
        total = int(a.sum()) + int(b.sum())
        both = 2 * int((a & b).sum()) / max(1, total)
        say(f"  Dice {name:12} {both:.3f}")
