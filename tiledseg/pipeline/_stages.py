"""Post-processing: steps -> passes over a class map of any size, each on what the one before left.

Steps that look at components share a pass, which reads the map twice; a smoothing is a pass of its
own. The last pass yields the result, the others leave theirs in a folder. Nothing depends on the
blocks that a map is read in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..budget import format_bytes
from ..components import (
    BLOCK,
    FINDING_BYTES,
    NODATA,
    SMOOTHING_BYTES,
    Ball,
    ComponentStep,
    Graph,
    MapFacts,
    applied,
    check_classes,
    check_steps,
    find_components,
    rows_of,
    smoothed,
)
from ..errors import BudgetExceeded
from ..grid import Grid
from ..io import Folder, HeldMap, Source, create_array
from ..labels import ClassSchema
from ..steps import Smooth, Step
from ._map_classes import unit_of

OnShare = Callable[[float], None]
#: Where in a folder passes leave their maps.
STAGES = "stages"
#: Samples of a block that there is room for in every run.
_PLANNED = 1 << 20
#: Columns in a chunk of what a pass leaves.
_CHUNK = 1024


@dataclass(frozen=True)
class Stages:
    """What is done to a class map, fitted to where it lies.

    Args:
        passes: Steps that are done in one go: one that smooths, or some that look at components of
            one connectivity.
        grid: Where the map lies.
        measures: Area or volume of a sample in every row of axis 0, in the unit of the steps.
        unit: That unit.
        name: What to call the map in messages.
    """

    passes: tuple[tuple[Step, ...], ...]
    grid: Grid
    measures: NDArray[np.float64] = field(repr=False)
    unit: Any
    name: str

    @classmethod
    def of(cls, steps: Sequence[Step], grid: Grid, name: str) -> Stages:
        """Return the stages of some steps.

        Raises:
            ConfigError: A step does not fit the map's axes or units.
        """
        measures, unit = unit_of(grid)
        check_steps(steps, grid, unit, name)
        passes: list[tuple[Step, ...]] = []
        for key, some in groupby(steps, _kind):
            group = tuple(some)
            passes += [(step,) for step in group] if key == "smooth" else [group]
        return cls(tuple(passes), grid, measures, unit, name)

    def facts(self, schema: ClassSchema) -> MapFacts:
        """Return what steps may ask of the map.

        Raises:
            ConfigError: A step asks for a class that is not there.
        """
        facts = MapFacts(schema, self.unit, self.name)
        check_classes([step for steps in self.passes for step in steps], facts)
        return facts

    @property
    def readings(self) -> int:
        """How many times the map is read."""
        return sum(1 if isinstance(steps[0], Smooth) else 2 for steps in self.passes)

    def need(self, samples: int = 1) -> int:
        """Return the bytes that any pass holds besides a table of components.

        Args:
            samples: Of a block; there are whole rows at least.
        """
        return max((self._need(steps, samples) for steps in self.passes), default=0)

    def _need(self, steps: tuple[Step, ...], samples: int) -> int:
        inner = prod(self.grid.shape[1:])
        rows = min(max(1, samples // inner), self.grid.shape[0])
        first = steps[0]
        if isinstance(first, Smooth):
            halo = Ball.of(first, self.grid, self.name).halo[0]
            return min(rows + 2 * halo, self.grid.shape[0]) * inner * SMOOTHING_BYTES
        fronts = inner + rows * sum(self.grid.shape[1:])  # of whole numbers, old and new ones
        return rows * inner * FINDING_BYTES + 16 * fronts

    @property
    def planned(self) -> int:
        """Bytes that a run sets aside for it: half of them for components."""
        return 2 * self.need(_PLANNED)

    def require_room(self, room: int, limit: int) -> None:
        """Refuse a map that cannot be worked on a row at a time.

        Args:
            room: Bytes that are left of the budget.
            limit: The budget.

        Raises:
            BudgetExceeded: The sentence gives the numbers.
        """
        if self.need() > room:
            smooth = any(isinstance(steps[0], Smooth) for steps in self.passes)
            raise BudgetExceeded(
                f"post-processing {self.name} of {self.grid.shape} samples needs "
                f"{format_bytes(self.need())} besides the {format_bytes(limit - room)} that the "
                f"program, reading and writing take, budget is {format_bytes(limit)}: raise the "
                f"budget{', or smooth with a smaller radius' if smooth else ''}"
            )

    def samples(self, room: int) -> int:
        """Return how many samples a block may have: half of the room is for components."""
        samples = BLOCK
        while samples > 1 and self.need(samples) > room // 2:
            samples //= 2
        return samples


def _kind(step: Step) -> Any:
    """Return what steps that share a pass have in common."""
    return "smooth" if isinstance(step, Smooth) else step.connectivity


class Cleaning:
    """Stages in progress.

    Args:
        stages: What is done.
        facts: The classes of the map.
        folder: Takes what passes leave for the next.
        room: Bytes that it may hold.
        tell: Told the share that is done, 0 to 1.

    Attributes:
        objects: Components before and after the steps that look at them; None: no step does.
        changed: Samples whose class changed, those of every pass added up.
    """

    def __init__(
        self, stages: Stages, facts: MapFacts, folder: Folder, room: int, tell: OnShare
    ) -> None:
        self.stages, self._facts, self._folder, self._tell = stages, facts, folder, tell
        self._samples = stages.samples(room)
        self._room = room - stages.need(self._samples)
        self._read = 0
        self.objects: tuple[int, int] | None = None
        self.changed = 0

    def blocks(self, source: Source) -> Iterator[tuple[Box, NDArray[np.int64]]]:
        """Yield the result block by block; `NODATA` where nothing was measured or is left.

        Args:
            source: The class map.

        Raises:
            BudgetExceeded: There are more components than there is room for.
            DamagedInput: The map cannot be read.
            OutputFailed: What a pass leaves cannot be stored.
        """
        try:
            for number, steps in enumerate(self.stages.passes[:-1]):
                source = self._kept(left_name(number), source, steps)
            yield from self._pass(source, self.stages.passes[-1])
        finally:
            self._folder.remove(STAGES)

    def _kept(self, name: str, source: Source, steps: tuple[Step, ...]) -> Source:
        """Do a pass, and return what it leaves."""
        shape, place, kind = source.grid.shape, self._folder.array(name), np.dtype(np.int32)
        self._folder.remove(name)
        chunks = (self._block(source)[0], *(min(n, _CHUNK) for n in shape[1:]))
        with self._folder.writing():
            array = create_array(place, shape=shape, chunks=chunks, dtype=kind, fill_value=NODATA)
        for box, labels in self._pass(source, steps):
            with self._folder.writing():
                array[box.slices] = labels

        def read(box: Box) -> NDArray[np.int32]:
            with self._folder.reading():
                return np.asarray(array[box.slices])

        return HeldMap(read, source.grid, kind, NODATA, chunks, self.stages.name)

    def _pass(self, source: Source, steps: tuple[Step, ...]) -> Iterator[tuple[Box, NDArray[Any]]]:
        if isinstance(steps[0], Smooth):
            ball = Ball.of(steps[0], self.stages.grid, self.stages.name)
            for box, before, after in smoothed(source, ball, self._block(source)):
                self.changed += int(np.count_nonzero(before != after))
                yield box, after
                self._done(box)
            return
        looking = [step for step in steps if not isinstance(step, Smooth)]
        yield from self._components(source, looking)

    def _components(
        self, source: Source, steps: list[ComponentStep]
    ) -> Iterator[tuple[Box, NDArray[Any]]]:
        begun = self._read
        found = find_components(
            source,
            steps[0].connectivity,
            block=self._block(source),
            borders=True,
            measures=self.stages.measures,
            on_share=lambda share: self._share(begun + round(share * source.grid.box.size)),
            room=self._room,
        )
        graph = Graph.of(found)
        for step in steps:
            graph = applied(step, graph, self._facts)
        labels = graph.labels()
        self.changed += int(found.table.sizes[labels != found.table.labels].sum())
        before = len(found.table) if self.objects is None else self.objects[0]
        self.objects = (before, len(graph.table))
        for box, values in found.rewritten(labels.astype(np.int64), NODATA):
            yield box, values
            self._done(box)

    def _block(self, source: Source) -> tuple[int, ...]:
        return rows_of(source, self._samples)

    def _done(self, box: Box) -> None:
        self._share(self._read + box.size)

    def _share(self, read: int) -> None:
        self._read = read
        self._tell(read / (self.stages.readings * self.stages.grid.box.size))


def left_name(number: int) -> str:
    """Return the name of what a pass leaves for the next."""
    return f"{STAGES}/{number}.zarr"
