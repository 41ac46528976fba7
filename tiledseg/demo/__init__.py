"""The demo: a scene and a volume with known truth, segmented with the bundled models."""

from __future__ import annotations

from ._phantom import CLASSES as ORGANS
from ._phantom import Phantom, make_phantom
from ._run import DEMO_SEED, MODELS, TRAINING_SEEDS, run
from ._scene import CHANNELS, Scene, make_scene
from ._scene import CLASSES as COVERS

__all__ = [
    "CHANNELS",
    "COVERS",
    "DEMO_SEED",
    "MODELS",
    "ORGANS",
    "TRAINING_SEEDS",
    "Phantom",
    "Scene",
    "make_phantom",
    "make_scene",
    "run",
]
