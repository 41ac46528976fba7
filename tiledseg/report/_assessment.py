"""The page of a map that was assessed by points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._html import render


@dataclass(frozen=True, slots=True)
class AssessmentFacts:
    """Everything the page shows.

    Args:
        title: Heading.
        warnings: What the user should know.
        overall: Overall accuracy, with half the width of its interval.
        rows: Texts per class, in the order of ``columns``.
        columns: What they are.
        names: Of the classes.
        counts: Points, (q, q): map rows, truth columns.
        versions: Package -> version.
    """

    title: str
    warnings: tuple[str, ...]
    overall: str
    rows: list[list[str]]
    columns: tuple[str, ...]
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    versions: dict[str, str]


def assessment_page(facts: AssessmentFacts) -> str:
    """Return the page as HTML."""
    return render("assessment.html", facts=facts)
