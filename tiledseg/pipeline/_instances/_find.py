"""The objects of a map, in one of three ways, and what is needed for them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...components import (
    NODATA,
    Amounts,
    MapFacts,
    block_boxes,
    find_components,
    read_labels,
    require_class_map,
)
from ...engine import machine
from ...errors import ConfigError
from ...grid import Grid
from ...io import Scratch, Source
from ...labels import ClassSchema, schema_of_map
from ...objects import (
    Centred,
    Cut,
    Found,
    Heads,
    Segments,
    number,
    split_components,
)
from ...resampling import spacing_of
from .._map_classes import unit_of
from .._scores import open_channels, open_scores
from .._settings import OnShare
from ._room import Room
from ._spec import InstancesSpec

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """What objects are made of.

    Args:
        source: The class map, or the scene that a network looks at.
        facts: What its classes and sizes mean.
        things: Ids of the classes whose objects are wanted.
        scored: Whether objects have scores.
    """

    source: Source
    facts: MapFacts
    things: Ints
    scored: bool

    def numbered(self, found: Found, spec: InstancesSpec, most: int) -> Segments:
        """Give ids to objects, and to stuff where it is wanted.

        Raises:
            ConfigError: There are more than ids, or the map has no sizes of that kind.
        """
        schema, table = self.facts.schema, found.table
        rest = {c.id for c in schema.unique} - {*self.things.tolist(), schema.background}
        stuff = np.array(sorted(i for i in rest if i is not None), np.int64)
        sizes = table.sizes if spec.unit == "samples" else table.amounts
        least = (sizes, spec.enough(self.facts, found.unit))
        return number(table, self.things, stuff if spec.panoptic else stuff[:0], least, most)


def find_objects(
    source: Source,
    named: tuple[str, ClassSchema | None],
    spec: InstancesSpec,
    held: tuple[ExitStack, Path],
    tell: OnShare,
) -> tuple[Wanted, Found, int]:
    """Find the objects of a class map.

    Args:
        source: The map.
        named: What it is called, and the classes it was written with, if any.
        spec: How.
        held: Closes what is opened here, and a folder where there is room on disk.
        tell: Told the share that is done, 0 to 1.

    Returns:
        What objects are made of, the objects, and how many had no room to be split.

    Raises:
        ConfigError: The image is no class map, or has no things, or a channel is missing.
        GridMismatch: Scores or heads lie elsewhere.
        MissingBackend: A split needs scikit-image.
        BudgetExceeded: There are more objects than the memory has room for.
    """
    require_class_map(source)
    stack, folder = held
    measures, unit = unit_of(source.grid)
    amounts = Amounts.of(measures, source.grid.box.size // source.grid.shape[0])
    name, schema = named
    scores = None if spec.scores is None else open_scores(spec.scores, source, named, stack)

    def wanted(labels: list[int]) -> Wanted:
        facts = MapFacts(schema_of_map(schema, labels, source.nodata, source.palette), unit, name)
        things = _things(spec, facts)
        stated = replace(facts, schema=facts.schema.with_things(things.tolist()))
        return Wanted(source, stated, things, scores is not None)

    heads = _open_heads(spec, source.grid, stack)
    cut = _open_cut(spec, source.grid, stack)
    room = Room.of(
        source,
        machine.limit(spec.memory),
        0 if scores is None else len(scores.channels),
        centred=heads is not None,
        split=cut is not None,
    )
    if heads is not None:
        boxes, heads = block_boxes(source.grid.shape, room.block), replace(heads, most=room.rows)
        want = wanted(_labels_of(source, boxes))
        return want, Centred.of(source, heads, want.things, boxes, (amounts, scores), tell), 0
    share = 1.0 if cut is None else 0.5
    found = find_components(
        source,
        spec.connectivity,
        block=room.block,
        measures=measures,
        scores=scores,
        on_share=lambda done: tell(share * done),
        room=room.pieces,
    )
    want = wanted(np.unique(found.table.labels).tolist())
    if cut is None:
        return want, found, 0
    cut = room.cut(cut)
    scratch = stack.enter_context(Scratch(folder))
    chosen = np.isin(found.table.labels, want.things)
    split = split_components(
        found, chosen, cut, scratch, (amounts, scores), lambda done: tell(0.5 + done / 2)
    )
    return want, split, len(split.left)


def _things(spec: InstancesSpec, facts: MapFacts) -> Ints:
    """Return the ids of the classes whose objects are wanted."""
    if spec.classes:
        return facts.ids(spec.classes)
    if not facts.schema.things:
        names = ", ".join(c.name for c in facts.schema.unique)[:400]
        raise ConfigError(
            f"{facts.name} has no things: its classes are {names}; name those whose objects are "
            "wanted (--classes), or say isthing: true in the model's card"
        )
    return np.array(facts.schema.things, np.int64)


def _labels_of(source: Source, boxes: list[Box]) -> list[int]:
    """Return the labels of a map, those of what was not measured left out."""
    found: set[int] = set()
    for box in boxes:
        found |= {*np.unique(read_labels(source, box)).tolist()}
    return sorted(found - {NODATA})


def _open_heads(spec: InstancesSpec, grid: Grid, stack: ExitStack) -> Heads | None:
    if spec.centres is None:
        return None
    source = stack.enter_context(open_channels(spec.centres, 1 + grid.ndim, "centres"))
    grid.require_like(source.grid, f"centres {source.uri}")
    return Heads(source, spec.threshold, spec.window)


def _open_cut(spec: InstancesSpec, grid: Grid, stack: ExitStack) -> Cut | None:
    if spec.split is None:
        return None
    heights = None
    if spec.split != "distance":
        heights = stack.enter_context(open_channels(spec.split, 1, "split"))
        grid.require_like(heights.grid, f"split {heights.uri}")
    return Cut(spec.rise(), _sides(grid), heights, spec.boundaries)


def _sides(grid: Grid) -> tuple[float, ...]:
    """Return the sides of a sample, the shortest as 1; in degrees as they are in the middle."""
    known = spacing_of(grid)
    sides = (1.0,) * grid.ndim if known is None else known[0]
    return tuple(side / min(sides) for side in sides)
