"""Looking through a dataset: findings, figures, a page with pictures; and a recipe for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from .. import training
from ..budget import parse_bytes
from ..datasets import (
    Case,
    CaseCensus,
    Checked,
    Dataset,
    check_dataset,
    read_dataset,
    take_census,
)
from ..errors import ConfigError
from ..grid import Space, SpaceKind
from ..io import require_place, write_text
from ..report import CheckFacts, ShownCase, write_check_report
from ._report import versions

#: Cases that are drawn on a page: those something was found of first, then some of the others.
_DRAWN = 48
#: What spacings are in that are no lengths.
_UNITS = {
    SpaceKind.GEOGRAPHIC: " degrees",
    SpaceKind.LOCAL: ", without a reference to the world",
}
#: Samples along an axis of a picture.
_SIDE = {2: 512, 3: 160}


def check(
    dataset: str | Path | Dataset,
    out: str | Path | None = None,
    on_case: Callable[[str], None] | None = None,
) -> Checked:
    """Look through a dataset before anything is trained on it.

    Args:
        dataset: What `read_dataset` takes or returned.
        out: Folder for ``report.html`` and ``report.json``; None: none is made.
        on_case: Is told the name of every case that was looked at.

    Returns:
        What was found; `Checked.errors` prevent an honest training.

    Raises:
        ConfigError: The dataset cannot be read at all.
        OutputFailed: The page cannot be written.
    """
    opened = dataset if isinstance(dataset, Dataset) else read_dataset(dataset)
    checked = check_dataset(opened, on_case)
    if out is not None:
        write_check_report(Path(out), check_facts(checked), _shown(checked))
    return checked


def plan_training(
    dataset: str | Path | Dataset,
    out: str | Path,
    memory: str = "6GB",
    minutes: float = 60.0,
    fresh: bool = False,
    on_progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Write a recipe for a dataset, to be edited and trained.

    Args:
        dataset: What `read_dataset` takes or returned.
        out: YAML to write.
        memory: What the training may take, like ``6GB``.
        minutes: It may take, on this machine, which is measured.
        fresh: Whether to replace a recipe, which may have been edited.
        on_progress: Told the share that is done, 0 to 1, and what is next or was last.

    Returns:
        The file.

    Raises:
        ConfigError: The dataset cannot be learned from, or the recipe is there already.
        BudgetExceeded: Not even the smallest network fits into the memory.
        OutputFailed: The file cannot be written.
    """
    place = Path(out)
    require_place(place)
    if place.exists() and not fresh:
        raise ConfigError(f"{place} is there already; name another file, or replace it (--fresh)")
    opened = dataset if isinstance(dataset, Dataset) else read_dataset(dataset)
    budget = parse_bytes(memory)
    names = [case.name for case in opened.learnable]  # a test tells nothing before the end
    if not names:
        raise ConfigError(f"dataset {opened.name} has no labelled case to learn from; label some")
    tell, done = on_progress or _nothing, count(1)
    total = len(names) + 1  # a step is measured at the end
    census = take_census(opened.of(names), on_case=lambda name: tell(next(done) / total, name))
    tell(len(names) / total, "the time of a step")
    planned = training.plan_training(opened, census, budget, minutes, place.parent)
    write_text(place, planned.to_yaml())
    return place


def _nothing(share: float, name: str) -> None:
    """Take no notice."""


def check_facts(checked: Checked) -> CheckFacts:
    """Return what is told of a dataset, on the page and on the terminal."""
    dataset, census = checked.dataset, checked.census
    rows = [_row(case, census.cases[case.name]) for case in _read(checked)]
    warnings = (f.text for f in checked.findings if f.kind == "warning")
    return CheckFacts(
        title=f"Dataset {dataset.name}",
        errors=tuple(f.text for f in checked.errors),
        warnings=tuple(warnings),
        facts=_facts(checked),
        classes=tuple(_classes(checked)),
        cases=tuple(rows),
        versions=versions(),
    )


def _read(checked: Checked) -> list[Case]:
    """Return the cases that could be read."""
    return [c for c in checked.dataset.cases if c.name in checked.census.cases]


def _facts(checked: Checked) -> dict[str, str]:
    dataset, found = checked.dataset, list(checked.census.cases.values())
    cases, groups = len(dataset), len({c.group for c in dataset.cases})
    facts = {
        "cases": f"{cases}, {len(dataset.labelled)} of them labelled, in {groups} groups",
        "splits": ", ".join(
            f"{split}: {sum(c.split == split for c in dataset.cases)}" for split in dataset.splits
        )
        or "none of its own",
    }
    if not found:
        return facts
    shapes = np.array([c.shape for c in found if len(c.shape) == len(found[0].shape)])
    alike = [c for c in found if len(c.shape) == shapes.shape[1]]
    missing, labelled = checked.census.missing, int(checked.census.totals.sum())
    return facts | {
        "samples (array order)": _range(shapes, "{:.0f}"),
        "spacing (array order)": _spacings([c.facts for c in alike]),
        "channels": ", ".join(found[0].facts["channels"]),
        "types": ", ".join(sorted({c.facts["dtype"] for c in found})),
        "intensities": _intensities(checked),
        "unlabelled": f"{missing / max(1, missing + labelled):.2%} of the samples",
        "digest of the content": checked.census.digest,
        "licence": dataset.licence or "not stated",
    }


def _spacings(facts: Sequence[Mapping[str, Any]]) -> str:
    """Return the spacings along every axis, and their unit, where it is one.

    >>> _spacings([{"spacing": (10.0, 10.0), "space": "projected", "unit": 0.3048}])
    '3.048 x 3.048 m'
    >>> _spacings([{"spacing": (1.0, 1.0), "space": "local", "unit": None}])
    '1 x 1, without a reference to the world'
    """
    spaces = [Space(SpaceKind(f["space"]), unit=f["unit"]) for f in facts]
    factors = [s.length[0] if s.length else 1.0 for s in spaces]
    units = {f" {s.length[1]}" if s.length else _UNITS.get(s.kind, "") for s in spaces}
    values = np.array([f["spacing"] for f in facts]) * np.array(factors)[:, None]
    return _range(values, "{:.4g}") + (units.pop() if len(units) == 1 else ", in several units")


def _range(values: np.ndarray[Any, Any], form: str) -> str:
    """Return the least, the median and the largest along every axis.

    >>> _range(np.array([[3, 5], [4, 5]]), "{:.0f}")
    '3 to 4 (median 4) x 5'
    """
    parts = []
    for axis in values.T:
        low, middle, high = (form.format(v) for v in (axis.min(), np.median(axis), axis.max()))
        parts.append(low if low == high else f"{low} to {high} (median {middle})")
    return " x ".join(parts)


def _intensities(checked: Checked) -> str:
    widths = {len(c.facts["channels"]) for c in checked.census.cases.values()}
    if len(widths) > 1:
        return "of several numbers of channels"
    m = checked.census.moments
    stds = np.sqrt(m.spread / np.maximum(m.count, 1))
    return "; ".join(
        f"mean {mean:.4g}, deviation {std:.4g}, {low:.4g} to {high:.4g}"
        for mean, std, low, high in zip(m.mean, stds, m.low, m.high, strict=True)
    )


def _classes(checked: Checked) -> Iterator[dict[str, Any]]:
    census = checked.census
    if not census.cases:
        return
    group_of = {c.name: c.group for c in checked.dataset.cases}
    totals, shares = census.totals, census.shares
    for place, c in enumerate(census.schema.unique):
        names = [n for n, case in census.cases.items() if case.totals[place]]
        yield {
            "id": c.id,
            "name": c.name,
            "color": list(c.color),
            "samples": int(totals[place]),
            "share": float(shares[place]),
            "cases": len(names),
            "groups": len({group_of[n] for n in names}),
        }


def _row(case: Case, found: CaseCensus) -> dict[str, Any]:
    totals, missing = found.totals, found.missing
    labelled = max(1, int(totals.sum()))
    return {
        "name": case.name,
        "group": case.group,
        "split": case.split,
        "shape": " x ".join(map(str, found.shape)),
        "spacing": " x ".join(f"{s:.4g}" for s in found.facts["spacing"]),
        "unlabelled": missing / max(1, missing + int(totals.sum())),
        "shares": [float(n) / labelled for n in totals],
        "strange": dict(found.strange),
    }


def _shown(checked: Checked) -> Iterator[ShownCase]:
    """Yield the cases to draw, open one at a time."""
    dataset, cases = checked.dataset, _read(checked)
    told = {name for f in checked.findings for name in f.cases}
    first = [c for c in cases if c.name in told][:_DRAWN]
    rest = [c for c in cases if c.name not in told]
    count = min(len(rest), _DRAWN - len(first))
    picks = np.linspace(0, len(rest) - 1, count).astype(int) if count else ()
    for case in [*first, *(rest[i] for i in picks)]:
        with dataset.open(case) as pair:
            side = _SIDE[pair.grid.ndim]
            image, valid = pair.image.overview(side)
            class_map = pair.labels.overview(side)[0][0]
            grid = pair.grid.zoom(class_map.shape)
        group = "" if case.group == case.name else f", group {case.group}"
        split = f", {case.split}" if case.split else ""
        yield ShownCase(
            caption=f"{case.name}{group}{split}",
            grid=grid,
            schema=dataset.schema,
            image=image,
            valid=valid,
            class_map=class_map,
            channels=pair.image.channels,
        )
