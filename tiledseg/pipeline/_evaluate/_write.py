"""An evaluation as a folder: page, tables, pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import report
from ...box import Box
from ...io import Source, centred_picks, write_text, writing
from .._report import versions
from ._measure import Measured
from ._opened import Block, Opened, opened, underlay
from ._pairs import Pair
from ._result import Evaluation, plain, shown
from ._spec import EvaluateSpec
from ._worst import SIZE

#: Pictures of the worst cases, or places of one scene.
_WORST = 3
#: Samples per axis of a picture.
_LIMIT = {2: 640, 3: 256}


@dataclass(frozen=True)
class Shown:
    """An evaluation, and where its pictures come from.

    Args:
        found: The figures.
        pairs: The cases measured.
        measured: What was measured of them.
        spec: What was asked.
    """

    found: Evaluation
    pairs: list[Pair]
    measured: list[Measured]
    spec: EvaluateSpec


def write_evaluation(folder: Path | None, what: Shown, ran: dict[str, Any]) -> Evaluation:
    """Write ``report.html``, ``metrics.json``, ``metrics.csv`` and pictures, where asked for.

    Returns:
        The evaluation with how it ran and the files made, the page first.

    Raises:
        OutputFailed: A file cannot be written.
    """
    found = replace(what.found, ran=ran)
    if folder is None:
        return found
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    panels, problems = _worst(what)
    found = replace(found, warnings=(*found.warnings, *problems))
    facts = report.EvaluationFacts(
        title=_title(found),
        schema=found.schema,
        warnings=(*found.warnings, *(f"{f.name} failed: {f.problem}" for f in found.failed)),
        overall=_overall_rows(found),
        columns=tuple(found.classes),
        classes=_class_rows(found),
        counts=found.confusion.counts,
        cases=_case_rows(found),
        worst=tuple(panels),
        ran=ran,
        versions=versions(),
    )
    page = report.write_evaluation(folder, facts)
    figures, table = folder / "metrics.json", folder / "metrics.csv"
    outputs = (page[0], figures, table, *page[1:])
    found = replace(found, outputs=outputs)
    write_text(figures, json.dumps(found.to_dict(), indent=2, allow_nan=False))
    write_text(table, _table(found))
    return found


def _title(found: Evaluation) -> str:
    if len(found.cases) == 1:
        return f"{Path(found.cases[0].found).name} against {Path(found.cases[0].truth).name}"
    return f"{len(found.cases)} class maps against their truth"


def _overall_rows(found: Evaluation) -> list[tuple[str, str, str]]:
    """Return name, figure, and the interval over cases."""
    rows = [(name, shown(value), _interval(found, name)) for name, value in found.overall.items()]
    for number, q in found.panoptic.items():
        counts = f"{q.matched} matched, {q.extra} extra, {q.missed} missed"
        figures = f"PQ {shown(q.pq)}, SQ {shown(q.sq)}, RQ {shown(q.rq)}"
        rows.append((f"panoptic {found.segment_name(number)}", figures, counts))
    return rows


def _interval(found: Evaluation, name: str) -> str:
    if name not in found.intervals:
        return ""
    low, high = found.intervals[name]
    return f"{shown(low)} to {shown(high)}"


def _class_rows(found: Evaluation) -> list[list[tuple[float, str]]]:
    """Return per class every figure, and as it is shown, its interval over cases beneath."""
    rows = []
    for i in range(len(found.schema.unique)):
        row = []
        for name, values in found.classes.items():
            text = shown(float(values[i]))
            if name in found.intervals:
                low, high = (end[i] for end in found.intervals[name])
                text += f" ({shown(low)} to {shown(high)})" if not np.isnan(low) else ""
            row.append((float(values[i]), text))
        rows.append(row)
    return rows


def _case_rows(found: Evaluation) -> list[list[str]]:
    if len(found.cases) < 2:
        return []
    names = list(found.cases[0].overall)
    head = ["case", *names]
    return [
        head,
        *([c.name, *(shown(c.overall.get(n, np.nan)) for n in names)] for c in found.cases),
    ]


def _table(found: Evaluation) -> str:
    """Return a row for every case and class, and for all cases together."""
    columns = list(dict.fromkeys([*found.classes, *(k for c in found.cases for k in c.classes)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "map", "truth", "class_id", "class", "samples", *columns])
    together = ("all", "", "", found.confusion, found.classes)
    rows = [(c.name, c.found, c.truth, c.confusion, c.classes) for c in found.cases]
    for name, here, there, confusion, figures in [*rows, together]:
        for i, c in enumerate(found.schema.unique):
            values = [plain(float(figures[k][i])) if k in figures else None for k in columns]
            cells = ["" if v is None else v for v in values]
            writer.writerow([name, here, there, c.id, c.name, int(confusion.truth[i]), *cells])
    return text.getvalue()


# --------------------------------------------------------------------- pictures


def _worst(what: Shown) -> tuple[list[report.Panel], list[str]]:
    """Return pictures of the worst cases, or of the worst places of one scene; and what they lack.

    What has no wrong sample is not shown.
    """
    cases = what.found.cases
    if not what.found.confusion.total:
        return [], []
    wrong = [i for i in range(len(cases)) if cases[i].overall.get("accuracy", 0.0) < 1]
    order = sorted(wrong, key=lambda i: cases[i].overall.get("mean_dice", 2.0))
    panels, problems = [], []
    for i in order[: _WORST if len(cases) > 1 else 1]:
        with (
            opened(what.pairs[i], what.spec.ignore) as pair,
            underlay(what.pairs[i], pair.grid) as (below, problem),
        ):
            problems += [problem] if problem else []
            dice = shown(cases[i].overall.get("mean_dice", float("nan")))
            text = f"{cases[i].name}: mean Dice {dice}"
            panels.append(_panel(pair, below, *_overview(pair), text))
            worst = what.measured[i].worst
            if len(cases) == 1 and worst is not None and max(pair.grid.shape) > _LIMIT[2]:
                for (y, x), count in worst.most(_WORST):
                    box = Box((y, x), (y + SIZE, x + SIZE)).intersect(pair.grid.box)
                    text = f"row {y}, column {x}: {count:,} samples wrong"
                    panels.append(_panel(pair, below, box, SIZE, text))
    return panels, problems


def _overview(pair: Opened) -> tuple[Box, int]:
    """Return all of a scene; of a volume the plane along axis 0 with most wrong samples in it."""
    limit = _LIMIT[pair.grid.ndim]
    if pair.grid.ndim == 2:
        return pair.grid.box, limit
    wrong = []
    for z in (planes := centred_picks(pair.grid.shape[0], limit)):
        plane = _picked(pair, pair.grid.box.along(0, int(z), int(z) + 1), limit)
        wrong.append(int(((plane.truth != plane.found) & plane.valid).sum()))
    z = int(planes[int(np.argmax(wrong))])
    return pair.grid.box.along(0, z, z + 1), limit


def _picked(pair: Opened, box: Box, limit: int) -> Block:
    """Read a box row by row and keep the middle sample of every part; its leading axis is cut."""

    def read(part: Box) -> list[NDArray[Any]]:
        block = pair.read(part)
        return [block.truth, block.found, block.valid, block.measured]

    return Block(box, (), *_rows(read, box, limit))


def _rows(read: Callable[[Box], list[NDArray[Any]]], box: Box, limit: int) -> list[NDArray[Any]]:
    """Return what is read of a box, with the middle sample of every part of its last two axes."""
    picks = [centred_picks(n, limit) for n in box.shape]
    inner = np.ix_(*picks[-1:]) if len(picks) == 2 else np.ix_(*picks[-2:])
    parts = []
    for row in picks[0]:
        first = box.start[0] + int(row)
        parts.append([a[0][inner] for a in read(box.along(0, first, first + 1))])
    stacked = [np.stack(arrays) for arrays in zip(*parts, strict=True)]
    return [a[0] for a in stacked] if len(picks) == 3 else stacked


def _panel(pair: Opened, below: Source | None, box: Box, limit: int, caption: str) -> report.Panel:
    """Return the panel of a box; of many samples only some are read."""
    block = _picked(pair, box, limit)
    sizes = zip(box.shape[-2:], pair.grid.spacing[-2:], strict=True)
    height, width = (samples * spacing for samples, spacing in sizes)
    seen = None
    if below is not None:
        image = below

        def read(part: Box) -> list[NDArray[Any]]:
            return [*image.read(part), image.valid(part)]

        *layers, valid = _rows(read, box, limit)
        seen = report.Seen(np.stack(layers), valid, image.channels)
    return report.Panel(
        caption, block.truth, block.found, block.valid, block.measured, (height, width), seen
    )
