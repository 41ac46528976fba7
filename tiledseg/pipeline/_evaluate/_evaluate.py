"""Maps against their truth: cases one after the other, then together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...budget import format_bytes
from ...engine import machine
from ...errors import BudgetExceeded, ConfigError, TiledsegError
from ...labels import ClassSchema
from ...metrics import BoundaryF1, Confusion, PanopticQuality, told
from .._names import Output, check_outputs
from .._settings import read_settings
from ._measure import Measured, measure
from ._opened import opened
from ._pairs import Pair, collect_pairs, with_images
from ._result import (
    CaseResult,
    Evaluation,
    FailedCase,
    Figures,
    classes_of,
    finite_mean,
    over_cases,
    overall_of,
)
from ._spec import EvaluateSpec
from ._told import warnings_of
from ._write import Shown, write_evaluation

#: Told the share that is done, 0 to 1, and which case is being measured.
OnShare = Callable[[float, str], None]
_NOTHING = PanopticQuality(0, 0, 0, 0.0)


@dataclass
class _Gathered:
    """What is known after some of the cases."""

    schema: ClassSchema | None
    done: list[tuple[Pair, Measured]] = field(default_factory=list)
    failed: list[FailedCase] = field(default_factory=list)


def evaluate(
    class_map: Any,
    truth: Any = None,
    out: str | Path | None = None,
    *,
    image: Any = None,
    on_share: OnShare | None = None,
    **settings: Any,
) -> Evaluation:
    """Measure class maps against their truth, block by block.

    Samples without a truth (nodata, mask, ``ignore``) are not counted. Where there is a truth and
    the map has no class, the map is wrong.

    Args:
        class_map: File, URL, array or `Source` of labels; a name with ``{name}`` for many; a table
            (.csv) with the columns map and truth; or a list.
        truth: Likewise, one for every map; None with a table; or a dataset (YAML, or its folder),
            whose cases have their maps by ``{name}``.
        out: Folder for page, tables and pictures; None: none.
        image: What map and truth are labels of, on their grid, one for every map: outlines are
            drawn on it. None: those of the dataset, if the truth is one.
        on_share: Told how far it is.
        settings: Those of `EvaluateSpec`: metrics, tolerance, ignore, classes, memory ...

    Returns:
        What was found; cases that failed are named in it.

    Raises:
        ConfigError: A wrong setting, or a single case that cannot be measured.
        GridMismatch: A single map and its truth do not lie on one grid.
        DamagedInput: A single case is not what it claims to be.
        BudgetExceeded: A single case does not fit into the memory budget.
    """
    began = time.monotonic()
    spec = read_settings(EvaluateSpec, "evaluate", settings, ("metrics", "tolerance", "ignore"))
    folder = None if out is None else Path(out)
    if folder is not None:
        check_outputs([Output("out", folder, "folder")])
    if image is not None and folder is None:
        raise ConfigError(
            "image (--image) is for pictures, and without a folder (--out) there are none"
        )
    pairs = with_images(collect_pairs(class_map, truth, spec.split), image)
    gathered = _Gathered(spec.schema())
    for n, pair in enumerate(pairs):
        _measure_case(pair, spec, gathered, _part(on_share, n, len(pairs), pair.name), len(pairs))
    made = _together(gathered, spec)
    ran = {
        "cases": len(pairs),
        "samples": sum(m.samples for _, m in gathered.done),
        "seconds": round(time.monotonic() - began, 2),
        "peak_memory": format_bytes(machine.peak()),
    }
    shown = Shown(made, [pair for pair, _ in gathered.done], [m for _, m in gathered.done], spec)
    return write_evaluation(folder, shown, ran)


def _part(on_share: OnShare | None, n: int, count: int, name: str) -> Callable[[float], None]:
    def tell(share: float) -> None:
        if on_share is not None:
            on_share((n + share) / count, name)

    return tell


def _measure_case(
    pair: Pair,
    spec: EvaluateSpec,
    gathered: _Gathered,
    on_share: Callable[[float], None],
    count: int,
) -> None:
    """Measure a case; of many, one that cannot be measured does not stop the others."""
    try:
        with opened(pair, spec.ignore, spec.classes is not None) as both:
            schema = gathered.schema or both.schema
            if spec.classes is None and both.schema not in (None, schema):
                raise ConfigError(
                    f"map {pair.found} has other classes than the maps before it; measure maps of "
                    "different models one by one, or give all classes with --classes"
                )
            measured = measure(both, spec, schema, on_share)
            _require_known_truth(both.truth.uri, measured.confusion, schema)
    except TiledsegError as error:
        if count == 1:
            raise
        refused = isinstance(error, BudgetExceeded)
        gathered.failed.append(FailedCase(pair.name, str(error), refused))
        on_share(1.0)
        return
    gathered.schema = schema
    gathered.done.append((pair, measured))


def _require_known_truth(uri: str, confusion: Confusion, schema: ClassSchema | None) -> None:
    strange = {} if schema is None else confusion.strange_truth(c.id for c in schema.unique)
    if schema is not None and strange:
        names = ", ".join(f"{c.id} {c.name}" for c in schema.unique[:12])
        raise ConfigError(
            f"truth {uri} holds labels that are no classes: {told(strange)}; the classes are "
            f"{names}; name labels that mean no truth with --ignore "
            f"{','.join(map(str, strange))[:60]}, or give all classes with --classes"
        )


def _together(gathered: _Gathered, spec: EvaluateSpec) -> Evaluation:
    schema = gathered.schema or _bare_schema(gathered.done)
    ids = [c.id for c in schema.unique]
    cases: list[CaseResult] = []
    pooled, instances = Confusion(ids), dict[int, PanopticQuality]()
    for pair, measured in gathered.done:
        chosen = measured.confusion.only(ids)
        pooled.merge(chosen)
        panoptic = {} if measured.panoptic is None else measured.panoptic.qualities()
        for number, quality in panoptic.items():
            instances[number] = instances.get(number, _NOTHING) + quality
        cases.append(
            CaseResult(
                pair.name,
                _named(pair.found),
                pair.truth_name or _named(pair.truth),
                chosen,
                overall_of(chosen, schema),
                classes_of(measured, chosen),
                panoptic,
            )
        )
    return Evaluation(
        schema,
        tuple(cases),
        tuple(gathered.failed),
        overall_of(pooled, schema),
        _pooled_classes([m for _, m in gathered.done], cases, pooled),
        over_cases(cases, spec.seed),
        pooled,
        dict(sorted(instances.items())),
        warnings_of(schema, cases, [m for _, m in gathered.done]),
        {i: name for _, m in gathered.done for i, name in m.segment_names.items()},
    )


def _pooled_classes(
    done: list[Measured], cases: list[CaseResult], pooled: Confusion
) -> dict[str, Figures]:
    """Return figures per class: from all samples together where they are counted, else means."""
    if not pooled.total:
        return {}
    figures = classes_of(Measured(), pooled)
    names = dict.fromkeys(name for case in cases for name in case.classes if name not in figures)
    for name in names:
        parts = [m.boundaries[name] for m in done if name in m.boundaries]
        if parts:
            figures[name] = _joined(parts).f1(pooled.ids)
        else:
            table = np.array([case.classes[name] for case in cases if name in case.classes])
            figures[name] = finite_mean(table)
    return figures


def _joined(parts: list[BoundaryF1]) -> BoundaryF1:
    whole = BoundaryF1(0, (1.0,))
    for part in parts:
        whole.merge(part)
    return whole


def _bare_schema(done: list[tuple[Pair, Measured]]) -> ClassSchema:
    """Name classes by their label; 0 is background, as in every label map without a legend."""
    ids = sorted({i for _, measured in done for i in measured.confusion.ids}) or [0]
    classes = [{"id": i, "name": f"class {i}"} for i in ids]
    return ClassSchema.from_dict({"classes": classes, "background": 0 if 0 in ids else None})


def _named(image: Any) -> str:
    uri = getattr(image, "uri", None)
    if isinstance(image, str | Path):
        return str(image)
    return uri if isinstance(uri, str) else type(image).__name__
