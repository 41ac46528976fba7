"""Measuring class maps: against labels, or against points of a stratified sample."""

from ._assess import Assessment, assess
from ._evaluate import OnShare, evaluate
from ._result import CaseResult, Evaluation, FailedCase
from ._spec import METRICS, EvaluateSpec

__all__ = [
    "METRICS",
    "Assessment",
    "CaseResult",
    "EvaluateSpec",
    "Evaluation",
    "FailedCase",
    "OnShare",
    "assess",
    "evaluate",
]
