"""What the user should know of an evaluation."""

from __future__ import annotations

import numpy as np

from ...labels import ClassSchema
from ...metrics import told
from ._measure import Measured
from ._result import CaseResult


def warnings_of(
    schema: ClassSchema, cases: list[CaseResult], done: list[Measured]
) -> tuple[str, ...]:
    """Return a sentence for everything that makes figures less than they seem."""
    return (
        *_empty(cases),
        *_agnostic(cases, done),
        *_without_class(cases, done, schema),
        *_absent(schema, cases),
        *_infinite(schema, cases),
    )


def _empty(cases: list[CaseResult]) -> list[str]:
    return [
        f"{case.name} has no truth at all: nothing was counted"
        for case in cases
        if not case.confusion.total and not case.panoptic
    ]


def _agnostic(cases: list[CaseResult], done: list[Measured]) -> list[str]:
    return [
        f"only one of map and truth of {case.name} has a JSON that tells classes of segments: all "
        "count as one class"
        for case, measured in zip(cases, done, strict=True)
        if measured.agnostic
    ]


def _without_class(cases: list[CaseResult], done: list[Measured], schema: ClassSchema) -> list[str]:
    found = []
    for case, measured in zip(cases, done, strict=True):
        strange = measured.confusion.strange_map(c.id for c in schema.unique)
        missing = measured.confusion.missing
        if missing:
            share = missing / measured.confusion.total
            found.append(
                f"the map of {case.name} is nodata on {missing:,} samples that have a truth "
                f"({share:.2%}); they count as wrong"
            )
        if strange:
            found.append(
                f"the map of {case.name} holds values that are no classes: {told(strange)}; they "
                "count as wrong"
            )
    return found


def _absent(schema: ClassSchema, cases: list[CaseResult]) -> list[str]:
    """Tell of classes without a truth: no recall there, and F1, Dice and IoU are 0 or none."""
    counted = [case for case in cases if case.confusion.total]
    found = []
    for i, c in enumerate(schema.unique):
        truth = np.array([int(case.confusion.truth[i]) for case in counted])
        maps = np.array([int(case.confusion.found[i]) for case in counted])
        empty, only_map = int((truth == 0).sum()), int(((truth == 0) & (maps > 0)).sum())
        if not empty or not counted:
            continue
        where = (
            "the truth" if len(counted) == 1 else f"the truth of {empty} of {len(counted)} cases"
        )
        text = f"class {c.name!r} is not in {where}: it has no recall there"
        if only_map < empty:
            text += ", and no Dice or IoU where the map has none of it either"
        if only_map:
            text += "; Dice and IoU are 0 where only the map has it"
        found.append(text)
    return found


def _infinite(schema: ClassSchema, cases: list[CaseResult]) -> list[str]:
    found = []
    names = dict.fromkeys(name for case in cases for name in case.classes)
    for name in names:
        tables = [case.classes[name] for case in cases if name in case.classes]
        count = np.isinf(np.array(tables)).sum(axis=0)
        for c, n in zip(schema.unique, count, strict=True):
            if n:
                found.append(
                    f"{name} of class {c.name!r} is infinite in {n} of {len(tables)} cases, where "
                    "truth or map has none of it; means leave those out"
                )
    return found
