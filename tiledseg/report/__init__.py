"""What every run leaves to look at: a picture, a page and its figures as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..io import write_text, writing
from ._assessment import AssessmentFacts, assessment_page
from ._batch import BatchFacts, InputRow, State, write_batch_report
from ._check import CheckFacts, ShownCase, write_check_report
from ._encoded import save_png
from ._evaluation import EvaluationFacts, Panel, Seen, panel_picture, write_evaluation
from ._facts import ClassMeasure, ReportFacts, measure_classes
from ._html import page
from ._pictures import picture, with_legend
from ._training import TrainingFacts, write_training_page

__all__ = [
    "AssessmentFacts",
    "BatchFacts",
    "CheckFacts",
    "ClassMeasure",
    "EvaluationFacts",
    "InputRow",
    "Panel",
    "ReportFacts",
    "Seen",
    "ShownCase",
    "State",
    "TrainingFacts",
    "assessment_page",
    "measure_classes",
    "write_batch_report",
    "write_check_report",
    "write_evaluation",
    "write_report",
    "write_training_page",
]


def write_report(folder: Path, facts: ReportFacts, shown: Panel | None = None) -> list[Path]:
    """Write ``report.html``, ``report.json``, ``picture.png`` and ``run.yaml``.

    Args:
        folder: Where; made if it is not there.
        facts: What to tell.
        shown: Two maps and their difference; None: the image, and the class map over it.

    Returns:
        The files, the page first.

    Raises:
        OutputFailed: A file cannot be written.
    """
    with writing(folder):
        folder.mkdir(exist_ok=True)
    if shown is None:
        image = picture(facts)
    else:
        image = with_legend(panel_picture(shown, facts.schema), facts.measures)
    png = folder / "picture.png"
    url = save_png(png, image)
    html, figures, config = (folder / n for n in ("report.html", "report.json", "run.yaml"))
    write_text(html, page(facts, url))
    write_text(figures, _json(facts))
    write_text(config, facts.config)
    return [html, figures, png, config]


def _json(facts: ReportFacts) -> str:
    values = {
        "title": facts.title,
        "grid": facts.grid.to_dict(),
        "channels": list(facts.channels),
        "classes": [asdict(m) for m in facts.measures],
        "ran": facts.ran,
        "config": facts.config,
        "versions": facts.versions,
        "warnings": list(facts.warnings),
        "outputs": [str(p) for p in facts.outputs],
        "made_from": facts.made_from,
    }
    return json.dumps(values, indent=2, default=str)
