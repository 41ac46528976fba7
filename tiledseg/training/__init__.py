"""From labelled cases to a model: patches, augmentation, losses, the loop, its checkpoints."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._data_spec import AugmentSpec, DataSpec, PatchSpec
from ._learning_spec import LOSSES, LossSpec, NetworkSpec, OptimizerSpec, RunSpec
from ._recipe import Recipe

if TYPE_CHECKING:
    from ._decide import WANTED
    from ._job import Job, prepare_job
    from ._listeners import LOG
    from ._log import read_log
    from ._loop import Event, Kept, OnCase, StepsDone, Validate, Validated, Validating
    from ._plan import PlannedRecipe, plan_training
    from ._train import WORK, Options, Trained, run_training

#: Names behind torch and MONAI: a recipe is written and read without them.
_LAZY = {
    "Event": "._loop",
    "Job": "._job",
    "LOG": "._listeners",
    "WORK": "._train",
    "Kept": "._loop",
    "OnCase": "._loop",
    "Options": "._train",
    "PlannedRecipe": "._plan",
    "StepsDone": "._loop",
    "Trained": "._train",
    "Validate": "._loop",
    "Validated": "._loop",
    "Validating": "._loop",
    "WANTED": "._decide",
    "plan_training": "._plan",
    "prepare_job": "._job",
    "read_log": "._log",
    "run_training": "._train",
}

__all__ = [
    "LOG",
    "LOSSES",
    "WANTED",
    "WORK",
    "AugmentSpec",
    "DataSpec",
    "Event",
    "Job",
    "Kept",
    "LossSpec",
    "NetworkSpec",
    "OnCase",
    "OptimizerSpec",
    "Options",
    "PatchSpec",
    "PlannedRecipe",
    "Recipe",
    "RunSpec",
    "StepsDone",
    "Trained",
    "Validate",
    "Validated",
    "Validating",
    "plan_training",
    "prepare_job",
    "read_log",
    "run_training",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tiledseg.training' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
