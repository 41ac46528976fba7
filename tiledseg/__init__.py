"""tiledseg: segment images too large for one model call or for memory."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .box import Box
    from .components import FillHoles, KeepLargest, RemoveSmall, component_table
    from .config import BudgetSpec, CombineSpec, InputSpec, OutputSpec, RunConfig, RuntimeSpec
    from .datasets import Dataset, read_dataset
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
    from .grid import Grid, Space
    from .io import as_dask, open_source
    from .labels import ClassSchema
    from .models import ModelCard, Probe, create_model, import_model
    from .pipeline import (
        BatchResult,
        Result,
        load_model,
        plan,
        probe,
        segment,
        segment_many,
        train,
        vectorize,
    )
    from .pipeline._check import check, plan_training
    from .pipeline._evaluate import Assessment, Evaluation, assess, evaluate
    from .pipeline._postprocess import Postprocessed, postprocess
    from .pipeline._sample import Sample, sample
    from .tiling import TilePlan, TilingSpec
    from .training import Recipe

# Names are loaded when first used, so that `import tiledseg` costs nothing.
_HOMES = {
    "box": ("Box",),
    "components": ("FillHoles", "KeepLargest", "RemoveSmall", "component_table"),
    "config": (
        "BudgetSpec",
        "CombineSpec",
        "InputSpec",
        "OutputSpec",
        "RunConfig",
        "RuntimeSpec",
    ),
    "datasets": ("Dataset", "read_dataset"),
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
    "grid": ("Grid", "Space"),
    "io": ("as_dask", "open_source"),
    "labels": ("ClassSchema",),
    "models": ("ModelCard", "Probe", "create_model", "import_model"),
    "pipeline": (
        "Assessment",
        "BatchResult",
        "Evaluation",
        "Postprocessed",
        "Result",
        "Sample",
        "assess",
        "check",
        "evaluate",
        "load_model",
        "plan",
        "plan_training",
        "postprocess",
        "probe",
        "sample",
        "segment",
        "segment_many",
        "train",
        "vectorize",
    ),
    "tiling": ("TilePlan", "TilingSpec"),
    "training": ("Recipe",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Assessment",
    "BatchResult",
    "Box",
    "BudgetExceeded",
    "BudgetSpec",
    "ClassSchema",
    "CombineSpec",
    "ConfigError",
    "DamagedInput",
    "Dataset",
    "Evaluation",
    "FillHoles",
    "Grid",
    "GridMismatch",
    "InputSpec",
    "KeepLargest",
    "MissingBackend",
    "ModelCard",
    "OutputFailed",
    "OutputSpec",
    "PlanChanged",
    "Postprocessed",
    "Probe",
    "Recipe",
    "RemoveSmall",
    "Result",
    "RunConfig",
    "RuntimeSpec",
    "Sample",
    "Space",
    "TileFailed",
    "TilePlan",
    "TiledsegError",
    "TilingSpec",
    "TrainingFailed",
    "UnknownFormat",
    "as_dask",
    "assess",
    "check",
    "component_table",
    "create_model",
    "evaluate",
    "import_model",
    "load_model",
    "open_source",
    "plan",
    "plan_training",
    "postprocess",
    "probe",
    "read_dataset",
    "sample",
    "segment",
    "segment_many",
    "train",
    "vectorize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tiledseg' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
