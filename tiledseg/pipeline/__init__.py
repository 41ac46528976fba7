"""Where everything meets: image + model -> class map, vectors and report.

Nothing else knows all the parts. `prepare` decides and refuses early; `segment` only executes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._batch_result import BatchResult, InputEnded, InputPlanned, OnBatchEvent
from ._describe import describe
from ._inputs import NAME
from ._job import Job
from ._probe import probe
from ._result import Result
from ._run import execute, execute_shard
from ._segment import Predictor, load_model, plan, segment, segment_many, staged
from ._shard import Shard
from ._status import status
from ._vectorize import vectorize

if TYPE_CHECKING:
    from ._check import check, check_facts, plan_training
    from ._contours import contours
    from ._evaluate import METRICS, Assessment, Evaluation, assess, evaluate
    from ._instances import Instances, detect, instances
    from ._postprocess import Postprocessed, postprocess
    from ._rasterize import rasterize
    from ._sample import Sample, sample
    from ._surfaces import surfaces
    from ._train import train

__all__ = [
    "METRICS",
    "NAME",
    "Assessment",
    "BatchResult",
    "Evaluation",
    "InputEnded",
    "InputPlanned",
    "Instances",
    "Job",
    "OnBatchEvent",
    "Postprocessed",
    "Predictor",
    "Result",
    "Sample",
    "Shard",
    "assess",
    "check",
    "check_facts",
    "contours",
    "describe",
    "detect",
    "evaluate",
    "execute",
    "execute_shard",
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
    "staged",
    "status",
    "surfaces",
    "train",
    "vectorize",
]

#: What no run needs, like the metrics and with them scipy: loaded when first used.
_HOMES = {
    "._check": ("check", "check_facts", "plan_training"),
    "._contours": ("contours",),
    "._evaluate": ("METRICS", "Assessment", "Evaluation", "assess", "evaluate"),
    "._instances": ("Instances", "detect", "instances"),
    "._postprocess": ("Postprocessed", "postprocess"),
    "._rasterize": ("rasterize",),
    "._sample": ("Sample", "sample"),
    "._surfaces": ("surfaces",),
    "._train": ("train",),
}
_LAZY = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tiledseg.pipeline' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
