"""From labelled cases to a model: patches, augmentation, losses, the loop, its checkpoints."""

from __future__ import annotations

from ._recipe import Recipe
from ._sections import (
    LOSSES,
    AugmentSpec,
    DataSpec,
    LossSpec,
    NetworkSpec,
    OptimizerSpec,
    PatchSpec,
    RunSpec,
)

__all__ = [
    "LOSSES",
    "AugmentSpec",
    "DataSpec",
    "LossSpec",
    "NetworkSpec",
    "OptimizerSpec",
    "PatchSpec",
    "Recipe",
    "RunSpec",
]
