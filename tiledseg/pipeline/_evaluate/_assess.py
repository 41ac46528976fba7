"""A map against points of a stratified sample: accuracies and areas with their intervals."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import report, vector
from ...errors import ConfigError
from ...grid import Grid
from ...io import open_source, read_schema, write_text, writing
from ...labels import ClassSchema
from ...metrics import AreaEstimates, Z, estimate_areas
from .._names import Output, check_outputs
from .._report import versions
from .._sample import class_names, count_classes, labelled_rows, require_scene
from ._amount import one_size, sizes_of
from ._result import plain, shown

OnShare = Callable[[float], None]


@dataclass(frozen=True)
class Assessment:
    """What a sample of points says of a map (Olofsson et al. 2014).

    Args:
        names: The classes, those of the map first.
        counts: Points, (q, q): map rows, truth columns.
        estimates: Accuracies and areas with standard errors.
        unit: Of the areas: ``ha`` or ``samples``.
        warnings: What the user should know.
        outputs: Files written.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    estimates: AreaEstimates
    unit: str
    warnings: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = field(default=())

    def rows(self) -> list[dict[str, Any]]:
        """Return the figures per class; ``_95`` is half the width of a 95 % interval."""
        e = self.estimates
        return [
            {
                "class": name,
                "points": int(self.counts[i].sum()),
                f"mapped_{self.unit}": float(e.mapped[i]),
                f"area_{self.unit}": float(e.areas[0, i]),
                f"area_{self.unit}_95": float(Z * e.areas[1, i]),
                "users_accuracy": float(e.users[0, i]),
                "users_accuracy_95": float(Z * e.users[1, i]),
                "producers_accuracy": float(e.producers[0, i]),
                "producers_accuracy_95": float(Z * e.producers[1, i]),
            }
            for i, name in enumerate(self.names)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; None where there is no figure."""
        overall, error = self.estimates.overall
        numbers = [
            {k: plain(v) if isinstance(v, float) else v for k, v in row.items()}
            for row in self.rows()
        ]
        return {
            "overall_accuracy": overall,
            "overall_accuracy_95": Z * error,
            "classes": numbers,
            "points": {"rows": list(self.names), "samples": self.counts.tolist()},
            "area_proportions": self.estimates.proportions.tolist(),
            "warnings": list(self.warnings),
            "outputs": [str(path) for path in self.outputs],
        }

    def summary(self) -> str:
        """Return a table for people."""
        overall, error = self.estimates.overall
        lines = [f"warning: {text}" for text in self.warnings]
        width = max(map(len, self.names))
        lines.append(
            f"  {'':{width}}  points  {'mapped ' + self.unit:>16}  {'area ' + self.unit:>32}  "
            f"{'user':>15}  {'producer':>15}"
        )
        for row in self.rows():
            area = f"{row[f'area_{self.unit}']:,.1f} +- {row[f'area_{self.unit}_95']:,.1f}"
            pairs = [
                f"{shown(row[k])} +- {row[k + '_95']:.3f}" if not np.isnan(row[k]) else "-"
                for k in ("users_accuracy", "producers_accuracy")
            ]
            lines.append(
                f"  {row['class']:{width}}  {row['points']:6,}  "
                f"{row[f'mapped_{self.unit}']:16,.1f}  {area:>32}  {pairs[0]:>15}  {pairs[1]:>15}"
            )
        lines.append(f"overall accuracy {overall:.4f} +- {Z * error:.4f} (95 %)")
        return "\n".join([*lines, *(f"wrote {path}" for path in self.outputs)])


def assess(
    class_map: str | Path,
    points: str | Path,
    out: str | Path | None = None,
    *,
    on_share: OnShare | None = None,
) -> Assessment:
    """Estimate accuracies and areas of a scene's map from points whose truth was filled in.

    Args:
        class_map: The map that the points were drawn from by `sample`.
        points: Those points; ``truth`` holds the id or the name of a class, or nothing.
        out: Folder for page and tables; None: none.
        on_share: Told the share that is done, 0 to 1.

    Returns:
        The estimates after Olofsson et al. 2014.

    Raises:
        ConfigError: The points are not those of the map, a truth is no class, or a class has
            fewer than two points with a truth.
    """
    folder = None if out is None else Path(out)
    if folder is not None:
        check_outputs([Output("out", folder, "folder")])
    with open_source(class_map) as source:
        require_scene(class_map, source)
        schema, tell = read_schema(class_map), on_share or _ignore
        read = vector.read_points(Path(points), source.grid.space)
        strata, truths = _columns(read, points)
        held = count_classes(source, schema, lambda share: tell(share / 2))
        places = vector.turned_to(read.places, source.grid)
        index = _indices(places, source.grid, points)
        _require_same_map(source, schema, index, strata, lambda s: tell(0.5 + s / 2))
        grid = source.grid
    names = class_names(schema, held)
    made = _assessment(held, names, strata, _as_ids(truths, names, points, schema), grid)
    return made if folder is None else _write(made, folder, Path(class_map), Path(points))


def _columns(read: vector.Points, points: str | Path) -> tuple[NDArray[np.int64], list[str]]:
    missing = [name for name in ("class_id", "truth") if name not in read.fields]
    if missing:
        raise ConfigError(
            f"{points} has no column {missing[0]}; give the file that tiledseg sample wrote, with "
            "truth filled in"
        )
    strata = np.asarray(read.fields["class_id"], np.float64)
    if not np.isfinite(strata).all():
        raise ConfigError(f"{points} has points without a class_id; draw them with tiledseg sample")
    return strata.astype(np.int64), [_text(v) for v in read.fields["truth"]]


def _text(value: Any) -> str:
    """Return what was filled in; a column of numbers may have been read as float."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    if isinstance(value, float | np.floating) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _as_ids(
    truths: list[str], names: dict[int, str], points: str | Path, schema: ClassSchema | None
) -> NDArray[np.int64]:
    """Return the class of every truth, -1 where there is none.

    Raises:
        ConfigError: A truth is no class.
    """
    known = {name.casefold(): i for i, name in names.items()} | {str(i): i for i in names}
    ids = np.full(len(truths), -1, np.int64)
    strange: dict[str, int] = {}
    for n, text in enumerate(truths):
        if not text:
            continue
        if text.casefold() in known:
            ids[n] = known[text.casefold()]
        elif schema is None and text.isdecimal() and len(text) < 6:
            ids[n] = int(text)
        else:
            strange[text] = strange.get(text, 0) + 1
    if strange:
        told = ", ".join(f"{text!r:.40} ({n} points)" for text, n in list(strange.items())[:8])
        raise ConfigError(
            f"truth in {points} names what is no class: {told}; the classes are "
            f"{', '.join(f'{i} {name}' for i, name in list(names.items())[:20])}"
        )
    return ids


def _indices(places: NDArray[np.float64], grid: Grid, points: str | Path) -> NDArray[np.int64]:
    index = np.floor(grid.world_to_index(places)).astype(np.int64)
    outside = ((index < 0) | (index >= np.array(grid.shape))).any(axis=1)
    if outside.any():
        raise ConfigError(
            f"{int(outside.sum())} of {len(places)} points of {points} lie outside the map; give "
            "the map that they were drawn from"
        )
    return index


def _require_same_map(
    source: Any,
    schema: ClassSchema | None,
    index: NDArray[np.int64],
    strata: NDArray[np.int64],
    on_share: OnShare,
) -> None:
    """Refuse points of another map: an estimate weighs each by the class it was drawn from."""
    found = np.full(len(index), -1, np.int64)
    for top, labels in labelled_rows(source, schema, on_share):
        here = (index[:, 0] >= top) & (index[:, 0] < top + len(labels))
        found[here] = labels[index[here, 0] - top, index[here, 1]]
    other = np.flatnonzero(found != strata)
    if len(other):
        n = int(other[0])
        raise ConfigError(
            f"{len(other)} of {len(strata)} points were drawn from another map: point {n + 1} has "
            f"class_id {strata[n]}, {source.uri} has {found[n]} there; give the map they were "
            "drawn from, or draw points anew"
        )


def _assessment(
    held: dict[int, int],
    names: dict[int, str],
    strata: NDArray[np.int64],
    truths: NDArray[np.int64],
    grid: Grid,
) -> Assessment:
    filled = truths >= 0
    ids = [*held, *sorted(set(truths[filled].tolist()) - set(held))]
    place = {label: n for n, label in enumerate(ids)}
    counts = np.zeros((len(ids), len(ids)), np.int64)
    for stratum, truth in zip(strata[filled], truths[filled], strict=True):
        counts[place[int(stratum)], place[int(truth)]] += 1
    told = tuple(names.get(i, f"class {i}") for i in ids)
    size, unit = one_size(grid)
    mapped = np.array([held.get(i, 0) * size for i in ids])
    estimates = estimate_areas(counts, mapped, list(told))
    return Assessment(told, counts, estimates, unit, _warnings(filled, grid, unit))


def _warnings(filled: NDArray[np.bool_], grid: Grid, unit: str) -> tuple[str, ...]:
    found = []
    if not filled.all():
        found.append(f"{int((~filled).sum())} of {len(filled)} points have no truth: left out")
    if unit == "samples" and sizes_of(grid) is not None:
        found.append(
            "samples of this CRS are not of one size on the ground: areas are counted in samples; "
            "reproject the map to an equal-area CRS for hectares"
        )
    return tuple(found)


def _write(made: Assessment, folder: Path, class_map: Path, points: Path) -> Assessment:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    page, figures, table = (folder / n for n in ("report.html", "metrics.json", "metrics.csv"))
    made = replace(made, outputs=(page, figures, table))
    rows = made.rows()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v != v else v for k, v in row.items()} for row in rows)
    facts = report.AssessmentFacts(
        title=f"{class_map.name} against {points.name}",
        warnings=made.warnings,
        overall=f"{made.estimates.overall[0]:.4f} +- {Z * made.estimates.overall[1]:.4f}",
        rows=[[_cell(v) for v in row.values()] for row in rows],
        columns=tuple(rows[0]),
        names=made.names,
        counts=made.counts,
        versions=versions(),
    )
    write_text(page, report.assessment_page(facts))
    write_text(figures, json.dumps(made.to_dict(), indent=2, allow_nan=False))
    write_text(table, text.getvalue())
    return made


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"
    return str(value)


def _ignore(share: float) -> None:
    """Take no notice."""
