"""One case: everything that is asked of it, in one pass over its blocks, then class by class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...budget import format_bytes
from ...engine import machine
from ...errors import BudgetExceeded
from ...labels import ClassSchema
from ...metrics import (
    BoundaryF1,
    Confusion,
    Extents,
    Panoptic,
    distances_between,
    surface_need,
    surface_points,
)
from ._amount import Difference, sizes_of
from ._opened import Block, Opened, block_boxes
from ._segments import require_same_categories
from ._spec import EvaluateSpec, measuring_spacing
from ._worst import WorstPlaces

OnShare = Callable[[float], None]


@dataclass
class Measured:
    """What was measured of a case.

    Args:
        confusion: Counts of every label value that was seen.
        boundaries: Name of the figure -> counts.
        panoptic: Areas of instances, where asked for.
        segment_names: Class -> name, where segments have classes by name.
        agnostic: Whether only one of map and truth tells the classes of its segments.
        extents: Where every label value is, in either.
        surfaces: Name of the figure -> label value -> figure.
        amount: Map less truth, where asked for and samples have a size.
        samples: Samples of the image.
        worst: Where most samples are wrong, scenes only.
    """

    confusion: Confusion = field(default_factory=Confusion)
    boundaries: dict[str, BoundaryF1] = field(default_factory=dict)
    panoptic: Panoptic | None = None
    segment_names: dict[int, str] = field(default_factory=dict)
    agnostic: bool = False
    extents: Extents = field(default_factory=Extents)
    surfaces: dict[str, dict[int, float]] = field(default_factory=dict)
    amount: Difference | None = None
    samples: int = 0
    worst: WorstPlaces | None = None


def measure(
    pair: Opened, spec: EvaluateSpec, schema: ClassSchema | None, on_share: OnShare
) -> Measured:
    """Measure a case.

    Args:
        pair: Map and truth.
        spec: What is asked.
        schema: The classes, where they are known.
        on_share: Told the share that is done, 0 to 1.

    Raises:
        ConfigError: Values are no labels, or a tolerance cannot be streamed.
        BudgetExceeded: A class is too large for its surfaces to be measured in memory.
    """
    asked = spec.of(pair.grid.ndim)
    made = _begin(pair, spec, asked)
    margins = [boundary.halo for boundary in made.boundaries.values()]
    halo = tuple(map(max, zip(*margins, strict=True))) if margins else None
    by_class = {*asked} - {"panoptic"}
    passes = 0.5 if "surface" in asked else 1.0
    for block in pair.blocks(halo):
        _add(made, block, bool(by_class), "surface" in asked)
        made.samples += int(np.prod([s.stop - s.start for s in block.core]))
        on_share(passes * made.samples / pair.grid.box.size)
    if "surface" in asked:
        ids = [c.id for c in schema.unique] if schema else list(made.confusion.ids)
        background = schema.background if schema else 0
        ids = [i for i in ids if i != background]
        for n, label in enumerate(ids):
            _measure_surface(pair, spec, made, label)
            on_share(0.5 + 0.5 * (n + 1) / len(ids))
    return made


def _begin(pair: Opened, spec: EvaluateSpec, asked: tuple[str, ...]) -> Measured:
    made = Measured()
    sizes = sizes_of(pair.grid) if "amount" in asked else None
    if sizes is not None:
        made.amount = Difference(*sizes)
    spacing, unit = measuring_spacing(pair.grid)
    if "boundary" in asked:
        for tolerance in spec.tolerances(pair.grid):
            name = f"boundary_f1_{tolerance:g}_{unit}"
            made.boundaries[name] = BoundaryF1(tolerance, spacing)
    if "panoptic" in asked:
        _begin_panoptic(made, pair, spec)
    if pair.grid.ndim == 2:
        made.worst = WorstPlaces()
    return made


def _begin_panoptic(made: Measured, pair: Opened, spec: EvaluateSpec) -> None:
    """Take classes of segments from the ids, or from what is told of them."""
    truth, found = pair.segments
    if spec.divisor is not None or truth is None or found is None:
        made.panoptic = Panoptic(spec.divisor)
        made.agnostic = spec.divisor is None and (truth is None) != (found is None)
        return
    require_same_categories(found, truth, f"map {pair.found.uri} and truth {pair.truth.uri}")
    made.panoptic = Panoptic(meanings=(truth.meanings(truth=True), found.meanings(truth=False)))
    made.segment_names = {**found.names, **truth.names}


def _add(made: Measured, block: Block, by_class: bool, surfaces: bool) -> None:
    core = block.core
    truth, found = block.truth[core], block.found[core]
    valid, measured = block.valid[core], block.measured[core]
    if made.panoptic is not None:
        made.panoptic.add(truth, np.where(measured, found, 0), valid)
    if not by_class:
        return
    made.confusion.add(truth, found, valid, measured)
    for boundary in made.boundaries.values():
        boundary.add(block.truth, block.found, block.valid, block.measured, core)
    start = tuple(a + s.start for a, s in zip(block.box.start, core, strict=True))
    if made.amount is not None:
        made.amount.add(truth, found, valid, measured, start[0])
    if surfaces:
        made.extents.add(truth, valid, start)
        made.extents.add(found, valid & measured, start)
    if made.worst is not None:
        made.worst.add(valid & ((truth != found) | ~measured), start)


def _measure_surface(pair: Opened, spec: EvaluateSpec, made: Measured, label: int) -> None:
    """Measure a class between its surfaces, on its own bounding box."""
    spacing, unit = measuring_spacing(pair.grid)
    extent = made.extents.box(label)
    nothing = np.zeros((0, pair.grid.ndim))
    points = (nothing, nothing)
    if extent is not None:
        box = Box(*extent)
        _require_room(pair, spec, surface_need(box.size, 0), label, box)
        points = tuple(surface_points(m, spacing) for m in _masks(pair, box, label))  # type: ignore[assignment]  # two of them
        _require_room(pair, spec, surface_need(0, sum(map(len, points))), label, box)
    distances = distances_between(*points)
    figures = {f"hd95_{unit}": distances.hausdorff(), f"assd_{unit}": distances.average()}
    for tolerance in spec.tolerances(pair.grid):
        figures[f"nsd_{tolerance:g}_{unit}"] = distances.normalised(tolerance)
    for name, value in figures.items():
        made.surfaces.setdefault(name, {})[label] = value


def _masks(pair: Opened, box: Box, label: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where truth and map have a class, as far as there is a truth."""
    truth, found = np.zeros(box.shape, np.bool_), np.zeros(box.shape, np.bool_)
    for part in block_boxes(box.shape, pair.found.blocks):
        block: Any = pair.read(part.shift(box.start))
        truth[part.slices] = block.valid & (block.truth == label)
        found[part.slices] = block.valid & block.measured & (block.found == label)
    return truth, found


def _require_room(pair: Opened, spec: EvaluateSpec, need: int, label: int, box: Box) -> None:
    held = machine.resident()
    limit = machine.limit(spec.memory)
    if held + need > limit:
        raise BudgetExceeded(
            f"surfaces of class {label} of {pair.found.uri}, {' x '.join(map(str, box.shape))} "
            f"samples, need {format_bytes(held + need)}, the budget is {format_bytes(limit)}: "
            "raise it (--memory), or leave out surface (--metrics classes,boundary)"
        )
