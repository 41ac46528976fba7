"""What an evaluation found: figures per case, pooled, and over cases."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...labels import ClassSchema
from ...metrics import Confusion, PanopticQuality, bootstrap_interval, mean_of
from ._measure import Measured

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class CaseResult:
    """What was found of one case.

    Args:
        name: What it is called.
        found: Its map.
        truth: Its truth.
        confusion: Counts of the classes.
        overall: Figure -> value.
        classes: Figure -> value per class, NaN where there is none.
        panoptic: Class -> figures, where asked for.
    """

    name: str
    found: str
    truth: str
    confusion: Confusion
    overall: dict[str, float]
    classes: dict[str, Figures]
    panoptic: dict[int, PanopticQuality] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedCase:
    """A case that could not be measured.

    Args:
        name: What it is called.
        problem: Why, in a sentence.
        refused: Whether it was for want of memory.
    """

    name: str
    problem: str
    refused: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. Figures lie in 0 to 1 but for those whose name ends in a unit.

    Args:
        schema: The classes; arrays of figures are in the order of ``schema.unique``.
        cases: Every case that was measured.
        failed: Those that could not be.
        overall: Figure -> value, all samples of all cases together.
        classes: Figure -> value per class: of all samples together for what is counted per sample,
            else the mean over the cases that have a finite figure.
        intervals: Figure -> both ends of the 95 % bootstrap interval of the mean over cases, for
            ``overall`` a number each, for ``classes`` an array each; empty with one case.
        confusion: Counts of all cases.
        panoptic: Class -> figures of all cases, where asked for.
        warnings: What the user should know.
        segment_names: Class -> name, where segments have classes by name.
        ran: How it ran.
        outputs: Files written.
    """

    schema: ClassSchema
    cases: tuple[CaseResult, ...]
    failed: tuple[FailedCase, ...]
    overall: dict[str, float]
    classes: dict[str, Figures]
    intervals: dict[str, tuple[Any, Any]]
    confusion: Confusion
    panoptic: dict[int, PanopticQuality]
    warnings: tuple[str, ...]
    segment_names: dict[int, str] = field(default_factory=dict)
    ran: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; None where there is no figure, "inf" where it is infinite."""
        names = [c.name for c in self.schema.unique]
        return {
            "classes": self.schema.to_dict()["classes"],
            "overall": {k: plain(v) for k, v in self.overall.items()},
            "per_class": by_name(self.classes, names),
            "intervals_95": {
                k: [_plain_of(end, names) for end in ends] for k, ends in self.intervals.items()
            },
            "confusion": {
                "rows": names,
                "columns": [*names, "no class"],
                "samples": self.confusion.counts.tolist(),
            },
            "panoptic": {str(c): _of_panoptic(q) for c, q in self.panoptic.items()},
            "mean_pq": plain(self.mean_pq) if self.panoptic else None,
            "segment_names": {str(c): name for c, name in self.segment_names.items()},
            "cases": [
                {
                    "name": case.name,
                    "map": case.found,
                    "truth": case.truth,
                    "overall": {k: plain(v) for k, v in case.overall.items()},
                    "per_class": by_name(case.classes, names),
                    "panoptic": {str(c): _of_panoptic(q) for c, q in case.panoptic.items()},
                }
                for case in self.cases
            ],
            "failed": [{"name": f.name, "problem": f.problem} for f in self.failed],
            "warnings": list(self.warnings),
            "ran": self.ran,
            "outputs": [str(path) for path in self.outputs],
        }

    @property
    def mean_pq(self) -> float:
        """Panoptic quality: the mean over the classes that have segments; NaN without any."""
        return mean_of(np.array([q.pq for q in self.panoptic.values()], np.float64))

    def segment_name(self, number: int) -> str:
        """Return what a class of segments is called."""
        return self.segment_names.get(number, f"class {number}")

    def summary(self) -> str:
        """Return a table for people."""
        lines = [f"warning: {text}" for text in self.warnings]
        lines += [f"{f.name} failed: {f.problem}" for f in self.failed]
        if self.confusion.total:
            width = max(len(c.name) for c in self.schema.unique)
            head = "  ".join(f"{name:>{max(8, len(name))}}" for name in self.classes)
            lines.append(f"  {'':{width}}  {head}")
            for i, c in enumerate(self.schema.unique):
                figures = (
                    f"{shown(values[i]):>{max(8, len(name))}}"
                    for name, values in self.classes.items()
                )
                lines.append(f"  {c.name:{width}}  {'  '.join(figures)}")
            lines.append(", ".join(f"{k} {shown(v)}" for k, v in self.overall.items()))
        for name, (low, high) in self.intervals.items():
            if name in self.overall and name in ("accuracy", "mean_iou", "mean_dice"):
                lines.append(
                    f"{name}, mean of {len(self.cases)} cases each alone: {shown(low)} to "
                    f"{shown(high)} (95 %)"
                )
        for number, q in self.panoptic.items():
            lines.append(
                f"panoptic {self.segment_name(number)}: PQ {shown(q.pq)}, SQ {shown(q.sq)}, "
                f"RQ {shown(q.rq)}; {q.matched} matched, {q.extra} extra, {q.missed} missed"
            )
        if len(self.panoptic) > 1:
            lines.append(f"panoptic of all classes: PQ {shown(self.mean_pq)}")
        return "\n".join([*lines, *(f"wrote {path}" for path in self.outputs)])


def overall_of(confusion: Confusion, schema: ClassSchema) -> dict[str, float]:
    """Return the figures of all classes together; Dice of the foreground as nnU-Net's mean."""
    if not confusion.total:
        return {}
    dice = confusion.f1()
    found = {
        "accuracy": confusion.accuracy(),
        "kappa": confusion.kappa(),
        "mean_iou": mean_of(confusion.iou()),
        "mean_dice": mean_of(dice),
    }
    if schema.background is not None:
        front = np.array([c.id != schema.background for c in schema.unique])
        found["foreground_dice"] = mean_of(dice[front])
    return found


def classes_of(measured: Measured, confusion: Confusion) -> dict[str, Figures]:
    """Return the figures per class of a case whose counts are of the classes only."""
    if not confusion.total:
        return {}
    ids = confusion.ids
    figures = {
        "precision": confusion.precision(),
        "recall": confusion.recall(),
        "dice": confusion.f1(),
        "iou": confusion.iou(),
    }
    for name, boundary in measured.boundaries.items():
        figures[name] = boundary.f1(ids)
    for name, values in measured.surfaces.items():
        figures[name] = np.array([values.get(i, np.nan) for i in ids])
    if measured.amount is not None:
        figures[f"difference_{measured.amount.unit}"] = measured.amount.of(confusion)
    return figures


def over_cases(cases: list[CaseResult], seed: int) -> dict[str, tuple[Any, Any]]:
    """Return the bootstrap intervals of the means over cases."""
    if len(cases) < 2:
        return {}
    intervals: dict[str, tuple[Any, Any]] = {}
    for name in cases[0].overall:
        values = np.array([case.overall.get(name, np.nan) for case in cases])
        low, high = bootstrap_interval(values, mean_of, seed)
        intervals[name] = (float(low), float(high))
    for name in cases[0].classes:
        table = np.array([case.classes[name] for case in cases if name in case.classes])
        intervals[name] = bootstrap_interval(table, finite_mean, seed)
    return intervals


def finite_mean(table: Figures) -> Figures:
    """Return the mean of every column's finite figures, NaN where there is none."""
    there = np.isfinite(table)
    total = np.where(there, table, 0.0).sum(axis=0)
    count = there.sum(axis=0)
    mean: Figures = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def plain(value: float) -> float | str | None:
    """Return a figure as JSON holds it."""
    if np.isnan(value):
        return None
    return "inf" if np.isinf(value) else float(value)


def by_name(figures: dict[str, Figures], names: list[str]) -> dict[str, dict[str, Any]]:
    """Return figures per class by the class's name."""
    return {key: _plain_of(values, names) for key, values in figures.items()}


def shown(value: float) -> str:
    """Return a figure as people read it."""
    if np.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def _plain_of(values: Any, names: list[str]) -> Any:
    if np.ndim(values) == 0:
        return plain(float(values))
    return {name: plain(float(v)) for name, v in zip(names, values, strict=True)}


def _of_panoptic(q: PanopticQuality) -> dict[str, Any]:
    counts = {"matched": q.matched, "extra": q.extra, "missed": q.missed}
    return {"pq": plain(q.pq), "sq": plain(q.sq), "rq": plain(q.rq), **counts}
