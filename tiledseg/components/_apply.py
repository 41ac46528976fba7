"""Steps that change the labels of a finished class map, component by component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..grid import Grid
from ..labels import ClassSchema
from ..steps import Becomes, Classes, FillHoles, KeepLargest, RemoveSmall, SizeUnit, Smooth, Step
from ._connectivity import rank_of
from ._graph import Graph
from ._pieces import NODATA
from ._sieve import sieved
from ._smooth import Ball
from ._table import enough
from ._union import groups_of

ComponentStep = KeepLargest | RemoveSmall | FillHoles


@dataclass(frozen=True)
class MapFacts:
    """What a step may ask of the map.

    Args:
        schema: Its classes.
        unit: What amounts are told in: "m2", "mm3", or "samples" where it has no such size.
        name: What to call the map in a message.
    """

    schema: ClassSchema
    unit: SizeUnit
    name: str

    def ids(self, classes: Classes) -> NDArray[np.int64]:
        """Return the ids of classes by name or id; of none, those of all but the background.

        Raises:
            ConfigError: There is no such class.
        """
        schema = self.schema
        if not classes:
            rest = (c.id for c in schema.unique if c.id != schema.background)
            return np.array(list(rest), np.int64)
        return np.array([schema.find(wanted, self.name) for wanted in classes], np.int64)

    def rest(self, becomes: Becomes) -> int:
        """Return the label of what is removed.

        Raises:
            ConfigError: It is to become background, and the map has none.
        """
        if becomes == "nodata":
            return NODATA
        if self.schema.background is None:
            raise ConfigError(
                f"{self.name} has no background that removed objects could become; let them become "
                "nodata, or small ones part of their neighbour (--small neighbour)"
            )
        return self.schema.background


def check_steps(steps: Sequence[Step], grid: Grid, unit: SizeUnit, name: str) -> None:
    """Refuse steps that do not fit a map's axes and units.

    Args:
        steps: The steps.
        grid: Where the map lies.
        unit: What its amounts are told in, as for `MapFacts`.
        name: What to call the map in a message.

    Raises:
        ConfigError: A connectivity does not exist there, or it has no sizes or lengths in a unit.
    """
    for step in steps:
        if isinstance(step, Smooth):
            Ball.of(step, grid, name)
            continue
        rank_of(step.connectivity, grid.ndim)
        if isinstance(step, RemoveSmall):
            require_sizes(step.unit, unit, name)


def require_sizes(asked: SizeUnit, unit: SizeUnit, name: str) -> None:
    """Refuse a least size in a unit that a map has no sizes in.

    Args:
        asked: The unit.
        unit: What the map's amounts are told in, as for `MapFacts`.
        name: What to call the map in a message.

    Raises:
        ConfigError: It has none.
    """
    if asked not in ("samples", unit):
        option = {"m2": "--min-area", "mm3": "--min-volume"}.get(unit, "--min-samples")
        raise ConfigError(
            f"{name} has no sizes in {asked}, its sizes are in {unit}; give the least size in "
            f"{unit} ({option})"
        )


def check_classes(steps: Sequence[Step], facts: MapFacts) -> None:
    """Refuse steps whose classes are not those of a map.

    Raises:
        ConfigError: There is no such class, or no background where one is needed.
    """
    for step in steps:
        if isinstance(step, KeepLargest) or (
            isinstance(step, RemoveSmall) and step.becomes != "neighbour"
        ):
            facts.ids(step.classes)
            facts.rest(step.becomes)
        elif isinstance(step, FillHoles):
            facts.rest("background")


def applied(step: ComponentStep, graph: Graph, facts: MapFacts) -> Graph:
    """Return the graph of the map that a step makes.

    Args:
        step: The step; `check_steps` and `check_classes` have let it pass.
        graph: The components before it.
        facts: The map's classes and units.
    """
    if isinstance(step, KeepLargest):
        return _keep_largest(step, graph, facts)
    return (
        _remove_small(step, graph, facts) if isinstance(step, RemoveSmall) else _fill(graph, facts)
    )


def _keep_largest(step: KeepLargest, graph: Graph, facts: MapFacts) -> Graph:
    """Return the graph without the other components."""
    table, wanted = graph.table, np.isin(graph.table.labels, facts.ids(step.classes))
    lost = wanted.copy()
    if step.together:
        lost[_largest_group(graph, wanted)] = False
    else:
        order = np.lexsort((-table.amounts, table.labels))  # stable: ids ascend among equals
        _, first = np.unique(table.labels[order], return_index=True)
        lost[order[first]] = False
    return graph.relabelled(_with(table.labels, lost, facts.rest(step.becomes)))


def _largest_group(graph: Graph, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the components of the largest group of some that touch; of equal ones the first."""
    pairs, amounts = graph.borders, graph.table.amounts
    both = wanted[pairs.one] & wanted[pairs.other]
    count, groups = groups_of(len(amounts), pairs.one[both], pairs.other[both])
    sums = np.zeros(count, np.int64)
    np.add.at(sums, groups[wanted], amounts[wanted])
    own = np.where(wanted, sums[groups], 0)
    return (
        np.flatnonzero(wanted & (groups == groups[own.argmax()]))
        if wanted.any()
        else (np.zeros(0, np.int64))
    )


def _remove_small(step: RemoveSmall, graph: Graph, facts: MapFacts) -> Graph:
    """Return the graph without small components."""
    table = graph.table
    sizes, unit = (table.sizes, 1.0) if step.unit == "samples" else (table.amounts, graph.unit)
    most = enough(step.least, unit) - 1
    if step.becomes == "neighbour":
        return graph.relabelled(sieved(graph, sizes, most))
    lost = np.isin(table.labels, facts.ids(step.classes)) & (sizes <= most)
    return graph.relabelled(_with(table.labels, lost, facts.rest(step.becomes)))


def _fill(graph: Graph, facts: MapFacts) -> Graph:
    """Return the graph without holes."""
    table, pairs = graph.table, graph.borders
    low = np.full(len(table), np.iinfo(np.int32).max, np.int32)
    high = np.full(len(table), NODATA, np.int32)
    for one, other in ((pairs.one, pairs.other), (pairs.other, pairs.one)):
        np.minimum.at(low, one, table.labels[other])
        np.maximum.at(high, one, table.labels[other])
    holes = (table.labels == facts.rest("background")) & ~table.open & (low == high)
    return graph.relabelled(np.where(holes, low, table.labels).astype(np.int32))


def _with(labels: NDArray[np.int32], chosen: NDArray[np.bool_], label: int) -> NDArray[np.int32]:
    changed = labels.copy()
    changed[chosen] = label
    return changed
