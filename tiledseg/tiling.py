"""The lattice of windows, and the tiles that share the work on it.

The lattice is fixed by the grid and the spec, never by the tiles. A tile owns a disjoint core,
evaluates every window that weighs on its core, and alone writes its core. So a sample's value is a
function of the lattice alone, whatever the cores, their order or who computes them.

           window i          window i + 1
    |<---------------->|
              |<---------------->|
    [ kept by i   |  blended  |  kept by i + 1 ...     (margins are dropped on inner sides)
       core of tile a     |     core of tile b         (the core border moves nothing)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import ceil, prod
from typing import Any, ClassVar, Literal, overload

import numpy as np
from numpy.typing import NDArray

from .box import Box
from .grid import Grid
from .lattice import Lattice, starts
from .resampling import Target
from .taper import Taper, kept_range, normalized_profiles, weight_map

Padding = Literal["reflect", "edge", "zero"]
Blend = Literal["scores", "logits"]


@dataclass(frozen=True, slots=True)
class TilingSpec:
    """How the image is cut; None means "as the model's card and the image suggest".

    Args:
        window: Input rectangle of the model, array order, in samples.
        stride: Distance between window starts, array order; for lattice ``even`` it need not be
            whole.
        margin: Samples of a window's inner sides that are dropped.
        taper: Weight profile of a window; gaussian where nobody says otherwise.
        lattice: How window starts are placed; aligned where nobody says otherwise.
        padding: What lies outside the image: its mirror image, as where nobody says otherwise, its
            outermost samples (``edge``), or 0 in model units.
        blend: What overlapping windows are averaged in: scores, as where nobody says otherwise, or
            logits, which become scores afterwards.
        core: Samples a tile owns, array order.
        multiple: Windows start at multiples of this; None takes the model's.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    window: tuple[int, ...] | None = None
    stride: tuple[int | float, ...] | None = None
    margin: int | None = None
    taper: Taper | None = None
    lattice: Lattice | None = None
    padding: Padding | None = None
    blend: Blend | None = None
    core: tuple[int, ...] | None = None
    multiple: int | None = None

    def given(self) -> dict[str, Any]:
        """Return the wishes by name."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in pairs if value is not None}

    def over(self, card: TilingSpec) -> TilingSpec:
        """Return these wishes, and those of a card where nothing was wished."""
        return replace(card, **self.given())


@dataclass(frozen=True, slots=True)
class Tile:
    """Unit of work: its number, the core only it writes, the box it reads (may stick out)."""

    index: int
    core: Box
    read: Box


@dataclass(frozen=True)
class TilePlan(Sequence[Tile]):
    """Every decision that the result's bytes depend on, and how the work is shared.

    A sequence of tiles in array order of their cores; its memory is the sum of the axis lengths,
    not their product.

    Windows lie on the grid that the model sees, cores on that of the result; where these are two,
    `target` leads from one to the other.

    Args:
        grid: Grid of the image as the model sees it.
        window: Input rectangle of the model.
        stride: Largest distance between window starts.
        margin: Samples dropped on a window's inner sides.
        taper: Weight profile.
        lattice: How starts are placed.
        padding: What lies outside the image.
        multiple: Of the model.
        core: Samples a tile owns.
        microbatch: Windows per model call; the last call of a tile is filled up.
        threads: Threads of one model call.
        runtime: Library that runs the model.
        precision: Arithmetic of the model.
        blend: What overlapping windows are averaged in.
        target: Grid of the result, where it is another, and how scores get there.
    """

    grid: Grid
    window: tuple[int, ...]
    stride: tuple[int | float, ...]
    margin: int
    taper: Taper
    lattice: Lattice
    padding: Padding
    multiple: int
    core: tuple[int, ...]
    microbatch: int = 1
    threads: int = 1
    runtime: str = "torch"
    precision: str = "fp32"
    blend: Blend = "scores"
    target: Target | None = None

    @property
    def output(self) -> Grid:
        """Grid of the result."""
        return self.grid if self.target is None else self.target.grid

    # ----------------------------------------------------------------- lattice

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """Window starts of every axis."""
        sizes = zip(self.grid.shape, self.window, self.stride, strict=True)
        return tuple(starts(self.lattice, n, w, s, self.multiple) for n, w, s in sizes)

    @cached_property
    def kept(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Per axis and window, the half-open range of samples on which the window weighs."""
        sizes = zip(self.starts, self.window, self.grid.shape, strict=True)
        return tuple(
            tuple(kept_range(start, w, n, self.margin) for start in axis) for axis, w, n in sizes
        )

    @cached_property
    def _limits(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
        """`kept` as arrays of lower and upper limits: a plan may have a million tiles."""
        arrays = (np.array(axis, dtype=np.int64).reshape(-1, 2) for axis in self.kept)
        return tuple((pairs[:, 0].copy(), pairs[:, 1].copy()) for pairs in arrays)

    @cached_property
    def tapers(self) -> tuple[list[NDArray[np.float32]], ...]:
        """Per axis and window, the normalised 1-D weights."""
        sizes = zip(self.starts, self.window, self.grid.shape, strict=True)
        return tuple(
            normalized_profiles(self.taper, w, axis, n, self.margin) for axis, w, n in sizes
        )

    @cached_property
    def weight_map(self) -> NDArray[np.float32] | None:
        """Weights of a whole window, *window, where they are no product of `tapers`, else None."""
        return weight_map(self.taper, self.window)

    def seams(self, axis: int) -> NDArray[np.int64]:
        """Return the result's samples at which the set of windows differs from that before."""
        inner = {p for kept in self.kept[axis] for p in kept} - {0, self.grid.shape[axis]}
        found = np.array(sorted(inner), dtype=np.int64)
        return found if self.target is None else self.target.seams(axis, found)

    # ----------------------------------------------------------------- tiles

    @property
    def counts(self) -> tuple[int, ...]:
        """Tiles along every axis."""
        return tuple(ceil(n / c) for n, c in zip(self.output.shape, self.core, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    @overload
    def __getitem__(self, index: int) -> Tile: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tile]: ...
    def __getitem__(self, index: int | slice) -> Tile | list[Tile]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        index %= len(self)
        place = np.unravel_index(index, self.counts)
        start = tuple(int(p) * c for p, c in zip(place, self.core, strict=True))
        return self._tile(index, Box.of_shape(self.core, start).intersect(self.output.box))

    def _tile(self, index: int, core: Box) -> Tile:
        spans = self.windows(core)
        low = tuple(axis[span.start] for axis, span in zip(self.starts, spans, strict=True))
        high = tuple(
            axis[span.stop - 1] + w
            for axis, span, w in zip(self.starts, spans, self.window, strict=True)
        )
        return Tile(index, core, Box(low, high))

    def __iter__(self) -> Iterator[Tile]:
        return (self[i] for i in range(len(self)))

    def scored(self, core: Box) -> Box:
        """Return the samples of the model's grid that ``core`` is made of."""
        return core if self.target is None else self.target.scored(core)

    def windows(self, core: Box) -> tuple[range, ...]:
        """Return per axis the indices of the windows that weigh on what ``core`` is made of."""
        spans, scored = [], self.scored(core)
        for (lows, highs), a, b in zip(self._limits, scored.start, scored.stop, strict=True):
            first = int(np.searchsorted(highs, a, side="right"))
            stop = int(np.searchsorted(lows, b, side="left"))
            spans.append(range(first, stop))
        return tuple(spans)

    def halves(self, tile: Tile, chunks: tuple[int, ...]) -> tuple[Tile, Tile] | None:
        """Return two tiles that share a tile's core, for when it does not fit into memory.

        Args:
            tile: The tile; both halves keep its number.
            chunks: Extents that no border between the halves may cut, per axis.

        Returns:
            The halves, or None where the core is a single chunk on every axis but the first, along
            which a tile costs no memory.
        """
        sizes = [(n, i) for i, n in enumerate(tile.core.shape) if i > 0 and n > chunks[i]]
        if not sizes:
            return None
        extent, axis = max(sizes)
        low, high = tile.core.start[axis], tile.core.stop[axis]
        middle = low + ceil(extent / 2 / chunks[axis]) * chunks[axis]
        return (
            self._tile(tile.index, tile.core.along(axis, low, middle)),
            self._tile(tile.index, tile.core.along(axis, middle, high)),
        )

    # ----------------------------------------------------------------- figures

    @cached_property
    def _per_core(self) -> tuple[NDArray[np.int64], ...]:
        """Per axis, the windows of every core."""
        counts = []
        for axis, (n, c) in enumerate(zip(self.output.shape, self.core, strict=True)):
            cores = (self.output.box.along(axis, a, min(a + c, n)) for a in range(0, n, c))
            counts.append(np.array([len(self.windows(core)[axis]) for core in cores]))
        return tuple(counts)

    @property
    def planned(self) -> int:
        """Windows all tiles evaluate together when none is skipped."""
        return prod(int(axis.sum()) for axis in self._per_core)

    def planned_of(self, tiles: Sequence[int]) -> int:
        """Return the windows of some tiles, by number."""
        places = np.unravel_index(np.array(tiles, dtype=np.int64), self.counts)
        each = [axis[place] for axis, place in zip(self._per_core, places, strict=True)]
        return int(np.prod(each, axis=0).sum())

    @property
    def _reached(self) -> list[tuple[range, range]]:
        """Per axis, the windows of the first and of the last core: a result may be a part."""
        return list(zip(self.windows(self[0].core), self.windows(self[-1].core), strict=True))

    @property
    def extra_work(self) -> float:
        """Share of windows evaluated more than once, because cores meet: 0.1 is 10 %."""
        needed = prod(len(range(a[0].start, a[1].stop)) for a in self._reached)
        return self.planned / needed - 1

    def describe(self) -> dict[str, Any]:
        """Return the figures a person wants before a long run."""
        return {
            "image": self.output.shape,
            **({} if self.target is None else {"resampled_to": self.grid.shape}),
            "window": self.window,
            "stride": self.stride,
            "margin": self.margin,
            "tiles": len(self),
            "core": self.core,
            "windows": self.planned,
            "extra_work": self.extra_work,
            "microbatch": self.microbatch,
            "threads": self.threads,
            "runtime": self.runtime,
            "precision": self.precision,
        }

    # ----------------------------------------------------------------- JSON

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` turns back into this plan."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["grid"] = self.grid.to_dict()
        if self.target is None:
            del values["target"]
        else:
            values["target"] = self.target.to_dict()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TilePlan:
        """Return the plan `to_dict` described."""
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        plain["grid"] = Grid.from_dict(values["grid"])
        if "target" in values:
            plain["target"] = Target.from_dict(values["target"])
        plain["taper"], plain["lattice"] = Taper(values["taper"]), Lattice(values["lattice"])
        return cls(**plain)
