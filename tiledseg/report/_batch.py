"""The report of a batch: a row for every input."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..io import write_text, writing
from ._facts import ClassMeasure
from ._html import render

State = Literal["done", "kept", "partly", "failed"]
#: Classes that the page has columns for, the largest first; the table file has all.
_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class InputRow:
    """How an input of a batch ended.

    Args:
        name: What it is called.
        image: Where it is; several are stacked.
        out: Its class map.
        state: ``done``; ``kept`` from an earlier run; ``partly``: some tiles failed; ``failed``.
        seconds: Wall time from its first tile to its report.
        windows: Windows evaluated or skipped.
        classes: Samples, share and area or volume per class.
        problem: What failed, in a sentence.
    """

    name: str
    image: str | list[str]
    out: Path
    state: State
    seconds: float = 0.0
    windows: int = 0
    classes: tuple[ClassMeasure, ...] = ()
    problem: str = ""

    @property
    def images(self) -> str:
        """Its images in one text."""
        return self.image if isinstance(self.image, str) else ";".join(self.image)


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """Everything the report of a batch shows.

    Args:
        title: Heading.
        rows: The inputs.
        reports: Class map -> folder of its own report, where it has one.
        ran: How it ran: name -> value, in the order to show.
        config: The settings, YAML.
        versions: Package -> version.
    """

    title: str
    rows: tuple[InputRow, ...]
    reports: dict[Path, Path]
    ran: dict[str, Any]
    config: str
    versions: dict[str, str]


def write_batch_report(folder: Path, facts: BatchFacts) -> list[Path]:
    """Write ``report.html``, ``report.json`` and ``report.csv``.

    Returns:
        The files, the page first.

    Raises:
        OutputFailed: A file cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    html, figures, table = (folder / f"report.{kind}" for kind in ("html", "json", "csv"))
    links = {
        out: Path(os.path.relpath(report, folder)).as_posix() + "/report.html"
        for out, report in facts.reports.items()
    }
    classes = _largest(facts.rows)
    write_text(html, render("batch.html", facts=facts, links=links, classes=classes))
    write_text(figures, _json(facts))
    write_text(table, _table(facts.rows))
    return [html, figures, table]


def _largest(rows: Sequence[InputRow]) -> list[str]:
    """Return the names of the classes with most samples in all inputs."""
    samples: Counter[str] = Counter()
    for row in rows:
        samples.update({measure.name: measure.samples for measure in row.classes})
    return [name for name, count in samples.most_common(_COLUMNS) if count]


def _json(facts: BatchFacts) -> str:
    values = {
        "title": facts.title,
        "inputs": [asdict(row) for row in facts.rows],
        "ran": facts.ran,
        "config": facts.config,
        "versions": facts.versions,
    }
    return json.dumps(values, indent=2, default=str)


def _table(rows: Sequence[InputRow]) -> str:
    names = list(dict.fromkeys(m.name for row in rows for m in row.classes))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fixed = ("name", "image", "out", "state", "seconds", "windows", "problem", "unit")
    writer.writerow([*fixed, *(f"class {name}" for name in names)])
    for row in rows:
        amounts = {m.name: m.amount for m in row.classes}
        unit = row.classes[0].unit if row.classes else ""
        figures = [f"{row.seconds:.2f}", row.windows, row.problem, unit]
        writer.writerow(
            [row.name, row.images, row.out, row.state, *figures]
            + [amounts.get(name, "") for name in names]
        )
    return text.getvalue()
