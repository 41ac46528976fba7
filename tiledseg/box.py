"""Box: a half-open integer rectangle in array order, the only one in the package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open integer rectangle ``[start, stop)`` in array order (y, x) or (z, y, x).

    A box may stick out of the image; it may be empty, but never inside out.

    Args:
        start: First index of every axis.
        stop: One past the last index of every axis.

    Raises:
        ValueError: The two have different lengths, or ``stop < start`` on an axis.

    >>> Box((0, 2), (4, 5)).shape
    (4, 3)
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.start) != len(self.stop):
            raise ValueError(f"box start {self.start} and stop {self.stop} differ in length")
        if any(b < a for a, b in zip(self.start, self.stop, strict=True)):
            raise ValueError(f"box stop {self.stop} lies before its start {self.start}")

    @classmethod
    def of_shape(cls, shape: tuple[int, ...], start: tuple[int, ...] | None = None) -> Box:
        """Return the box of ``shape`` samples at ``start`` (default: the origin)."""
        start = (0,) * len(shape) if start is None else start
        return cls(start, tuple(a + n for a, n in zip(start, shape, strict=True)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples along every axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of samples inside."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Index of this box in an array whose first sample is the image's first."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def shift(self, offset: tuple[int, ...]) -> Box:
        """Return the box moved by ``offset``.

        >>> Box((1, 1), (2, 3)).shift((4, -1))
        Box(start=(5, 0), stop=(6, 2))
        """
        return Box(
            tuple(a + o for a, o in zip(self.start, offset, strict=True)),
            tuple(b + o for b, o in zip(self.stop, offset, strict=True)),
        )

    def grow(self, samples: tuple[int, ...]) -> Box:
        """Return the box with so many samples more on both sides of every axis.

        >>> Box((1, 1), (2, 3)).grow((0, 2))
        Box(start=(1, -1), stop=(2, 5))
        """
        return Box(
            tuple(a - n for a, n in zip(self.start, samples, strict=True)),
            tuple(b + n for b, n in zip(self.stop, samples, strict=True)),
        )

    def relative_to(self, other: Box) -> Box:
        """Return this box in the coordinates of ``other``'s first sample."""
        return self.shift(tuple(-a for a in other.start))

    def intersect(self, other: Box) -> Box:
        """Return the common part, empty (at a valid place) where there is none."""
        start = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = tuple(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Box(start, tuple(max(a, b) for a, b in zip(start, stop, strict=True)))

    def contains(self, other: Box) -> bool:
        """Whether every sample of ``other`` lies inside."""
        return other.size == 0 or self.intersect(other) == other

    def along(self, axis: int, start: int, stop: int) -> Box:
        """Return the box with another extent along one axis.

        >>> Box((0, 0), (9, 9)).along(0, 3, 5)
        Box(start=(3, 0), stop=(5, 9))
        """
        return Box(
            (*self.start[:axis], start, *self.start[axis + 1 :]),
            (*self.stop[:axis], stop, *self.stop[axis + 1 :]),
        )

    def pieces(self, steps: tuple[int, ...]) -> Iterator[Box]:
        """Cut the box at multiples of ``steps``; in row-major order, none where it is empty.

        >>> [piece.shape for piece in Box((2, 0), (9, 8)).pieces((4, 8))]
        [(2, 8), (4, 8), (1, 8)]
        """
        spans = [
            [(max(a, low), min(b, low + step)) for low in range(a // step * step, b, step)]
            for a, b, step in zip(self.start, self.stop, steps, strict=True)
        ]
        for piece in product(*spans) if self.size else ():
            yield Box(tuple(a for a, _ in piece), tuple(b for _, b in piece))
