"""tiledseg: segment images too large for one model call or for memory."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .components import component_table
    from .config import RunConfig
    from .datasets import read_dataset
    from .errors import (
        BudgetExceeded,
        ConfigError,
        DamagedInput,
        GridMismatch,
        MissingBackend,
        OutputFailed,
        PlanChanged,
        TiledsegError,
        TileFailed,
        TrainingFailed,
        UnknownFormat,
    )
    from .io import as_dask, open_source
    from .labels import ClassSchema
    from .models import create_model, import_model
    from .pipeline import (
        assess,
        check,
        contours,
        detect,
        evaluate,
        instances,
        load_model,
        plan,
        plan_training,
        postprocess,
        probe,
        rasterize,
        sample,
        segment,
        segment_many,
        surfaces,
        train,
        vectorize,
    )
    from .steps import FillHoles, KeepLargest, RemoveSmall, Smooth
    from .training import Recipe

# What people call, construct or catch; what these give back is in the packages themselves.
# Names are loaded when first used, so that `import tiledseg` costs nothing.
_HOMES = {
    "components": ("component_table",),
    "config": ("RunConfig",),
    "datasets": ("read_dataset",),
    "errors": (
        "BudgetExceeded",
        "ConfigError",
        "DamagedInput",
        "GridMismatch",
        "MissingBackend",
        "OutputFailed",
        "PlanChanged",
        "TileFailed",
        "TiledsegError",
        "TrainingFailed",
        "UnknownFormat",
    ),
    "io": ("as_dask", "open_source"),
    "labels": ("ClassSchema",),
    "models": ("create_model", "import_model"),
    "pipeline": (
        "assess",
        "check",
        "contours",
        "detect",
        "evaluate",
        "instances",
        "load_model",
        "plan",
        "plan_training",
        "postprocess",
        "probe",
        "rasterize",
        "sample",
        "segment",
        "segment_many",
        "surfaces",
        "train",
        "vectorize",
    ),
    "steps": ("FillHoles", "KeepLargest", "RemoveSmall", "Smooth"),
    "training": ("Recipe",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BudgetExceeded",
    "ClassSchema",
    "ConfigError",
    "DamagedInput",
    "FillHoles",
    "GridMismatch",
    "KeepLargest",
    "MissingBackend",
    "OutputFailed",
    "PlanChanged",
    "Recipe",
    "RemoveSmall",
    "RunConfig",
    "Smooth",
    "TileFailed",
    "TiledsegError",
    "TrainingFailed",
    "UnknownFormat",
    "as_dask",
    "assess",
    "check",
    "component_table",
    "contours",
    "create_model",
    "detect",
    "evaluate",
    "import_model",
    "instances",
    "load_model",
    "open_source",
    "plan",
    "plan_training",
    "postprocess",
    "probe",
    "rasterize",
    "read_dataset",
    "sample",
    "segment",
    "segment_many",
    "surfaces",
    "train",
    "vectorize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tiledseg' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
