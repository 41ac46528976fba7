"""From the axes of an array to others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..box import Box


@dataclass(frozen=True, slots=True)
class AxisMap:
    """A permutation and flips of array axes; exact, nothing is interpolated.

    Args:
        order: Old axis of every new axis.
        flips: Whether every new axis runs against the old one.
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of ``array`` (leading axes are kept) in the new order."""
        lead = array.ndim - len(self.order)
        moved = array.transpose(*range(lead), *(lead + a for a in self.order))
        turns = tuple(slice(None, None, -1) if f else slice(None) for f in self.flips)
        return moved[(..., *turns)]

    def box(self, box: Box, shape: tuple[int, ...]) -> Box:
        """Return where ``box`` of an old image of ``shape`` lies in the new one."""
        start, stop = [], []
        for axis, flip in zip(self.order, self.flips, strict=True):
            a, b, n = box.start[axis], box.stop[axis], shape[axis]
            start.append(n - b if flip else a)
            stop.append(n - a if flip else b)
        return Box(tuple(start), tuple(stop))

    @property
    def inverse(self) -> AxisMap:
        """The map that leads back."""
        back = tuple(self.order.index(axis) for axis in range(len(self.order)))
        return AxisMap(back, tuple(self.flips[new] for new in back))
