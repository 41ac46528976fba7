"""Arcs -> the rings of components: one shell each, and holes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ._arcs import Arcs
from ._spill import Ints, Places


@dataclass(frozen=True)
class Outlines:
    """Outlines of some components.

    A ring is closed, starts at its smallest corner (row by row), and has its component at the left
    hand of who walks along it, on a map whose rows run downwards. The shell comes first, holes by
    their smallest corner. A ring never touches itself; those of a component touch at corners only.

    Args:
        faces: The components.
        corners: x and y of the rings, one after the other, (n, 2).
        rings: First corner of every ring, and the number of corners.
        shells: First ring of every component, and the number of rings.
    """

    faces: Ints
    corners: Places
    rings: Ints
    shells: Ints


class Faces:
    """Components as lists of the arcs around them.

    Args:
        arcs: The arcs.
        count: Components.
    """

    def __init__(self, arcs: Arcs, count: int) -> None:
        self._arcs, self.count = arcs, count
        self._firsts, self._darts = _by_face(arcs.rows, count)

    def sizes(self, faces: Ints) -> Ints:
        """Return the corners that arcs around components have: about those of their outlines."""
        sizes: Ints = _lengths(self._arcs.rows, self._firsts, self._darts, faces)
        return sizes

    def outlines(self, faces: Ints) -> Outlines:
        """Return the outlines of components.

        Args:
            faces: The components, 4-connected each.
        """
        arcs = self._arcs
        lists = (self._firsts, self._darts)
        darts, rings, shells = _rings(arcs.rows, arcs.slots, lists, faces)
        used, local = np.unique(darts >> 1, return_inverse=True)
        corners = arcs.corners(used)
        counts = arcs.rows[used, 0].astype(np.int64)
        ends = np.cumsum(counts)
        place = (ends - counts)[local], ends[local]
        smallest, lengths, holes = _smallest(corners, darts, place, rings)
        owners = np.repeat(np.arange(len(faces)), np.diff(shells))
        order = np.lexsort((smallest, holes, owners))
        firsts = np.zeros(len(order) + 1, np.int64)
        np.cumsum(lengths[order], out=firsts[1:])
        out = np.empty((firsts[-1], 2), np.int32)
        _write(corners, darts, place, rings, order, smallest, out)
        return Outlines(faces, out, firsts, shells)


@compiled
def _by_face(rows: Places, count: int) -> tuple[Ints, Places]:
    """Return the arcs around every component, walked so that it lies at the left.

    Returns:
        First of every component's, and their number; the arcs, twice the number, plus 1 where it is
        walked backwards.
    """
    firsts = np.zeros(count + 1, np.int64)
    for arc in range(len(rows)):
        for side in range(2):
            if rows[arc, 1 + side] >= 0:
                firsts[rows[arc, 1 + side] + 1] += 1
    for face in range(count):
        firsts[face + 1] += firsts[face]
    darts, at = np.empty(firsts[count], np.int32), firsts[:count].copy()
    for arc in range(len(rows)):
        for side in range(2):
            face = rows[arc, 1 + side]
            if face >= 0:
                darts[at[face]] = 2 * arc + side
                at[face] += 1
    return firsts, darts


@compiled
def _lengths(rows: Places, firsts: Ints, darts: Places, wanted: Ints) -> Ints:
    """Return the corners of all arcs around components."""
    lengths = np.zeros(len(wanted), np.int64)
    for i in range(len(wanted)):
        for k in range(firsts[wanted[i]], firsts[wanted[i] + 1]):
            lengths[i] += rows[darts[k] >> 1, 0]
    return lengths


@compiled
def _onward(rows: Places, slots: Places, dart: int, face: int) -> int:
    """Return the arc on which a walk around a component goes on.

    Where a component comes to a node from two sides, the walk turns as far to the right as it can,
    around what lies between: so no ring touches itself.
    """
    end = rows[dart >> 1, 3 if dart & 1 else 4]
    if end < 0:
        return dart
    node, back = end >> 2, end & 3
    for turn in (3, 2, 1):
        onward = slots[node, (back + turn) & 3]
        if onward >= 0 and rows[onward >> 1, 1 + (onward & 1)] == face:
            return int(onward)
    return -1


@compiled
def _rings(
    rows: Places, slots: Places, lists: tuple[Ints, Places], faces: Ints
) -> tuple[Places, Ints, Ints]:
    """Put the arcs around components in the order they are walked.

    Returns:
        The arcs, as in `_by_face`; the first of every ring, and their number; the first ring of
        every component, and their number.
    """
    firsts, darts = lists
    total = 0
    for face in faces:
        total += firsts[face + 1] - firsts[face]
    walked, rings = np.empty(total, np.int32), np.empty(total + 1, np.int64)
    shells = np.empty(len(faces) + 1, np.int64)
    many = count = 0
    for i in range(len(faces)):
        face = faces[i]
        low, high = firsts[face], firsts[face + 1]
        shells[i] = count
        own = darts[low:high]  # ascending
        seen = np.zeros(high - low, np.bool_)
        for k in range(high - low):
            if seen[k]:
                continue
            rings[count] = many
            count += 1
            dart = own[k]
            while True:
                walked[many] = dart
                many += 1
                seen[np.searchsorted(own, dart)] = True
                dart = _onward(rows, slots, dart, face)
                if dart == own[k]:
                    break
    rings[count] = many
    shells[len(faces)] = count
    return walked, rings[: count + 1].copy(), shells


@compiled
def _smallest(
    corners: Places, darts: Places, place: tuple[Ints, Ints], rings: Ints
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Return the smallest corner of every ring, as a number, its corners, and whether it is a hole.

    Holes have their component outside: the area to the left of who walks along them is below 0.
    """
    many = len(rings) - 1
    smallest, lengths = np.empty(many, np.int64), np.empty(many, np.int64)
    holes = np.empty(many, np.bool_)
    for ring in range(many):
        least, length, area = np.int64(1) << 62, 1, np.int64(0)
        x, y = (
            np.int64(corners[place[0][rings[ring]], 0]),
            np.int64(corners[place[0][rings[ring]], 1]),
        )
        for k in range(rings[ring], rings[ring + 1]):
            low, high = place[0][k], place[1][k]
            length += high - low - 1
            own = np.int64(0)
            for i in range(low, high):
                code = (np.int64(corners[i, 1]) << 31) | np.int64(corners[i, 0])
                least = min(least, code)
                if i > low:
                    own += (corners[i - 1, 1] - y) * (corners[i, 0] - x) - (
                        corners[i - 1, 0] - x
                    ) * (corners[i, 1] - y)
            area += -own if darts[k] & 1 else own
        smallest[ring], lengths[ring], holes[ring] = least, length, area < 0
    return smallest, lengths, holes


@compiled
def _write(
    corners: Places,
    darts: Places,
    place: tuple[Ints, Ints],
    rings: Ints,
    order: Ints,
    smallest: Ints,
    out: Places,
) -> None:
    """Write the corners of rings, in an order, each from its smallest corner on."""
    base = 0
    for ring in order:
        at, turn = base, base
        for k in range(rings[ring], rings[ring + 1]):
            low, high = place[0][k], place[1][k]
            for i in range(high - low - 1):
                j = high - 1 - i if darts[k] & 1 else low + i
                out[at, 0], out[at, 1] = corners[j, 0], corners[j, 1]
                code = (np.int64(corners[j, 1]) << 31) | np.int64(corners[j, 0])
                if code == smallest[ring]:
                    turn = at
                at += 1
        if turn > base:
            turned = np.empty((at - base, 2), np.int32)
            for i in range(at - base):
                j = base + (turn - base + i) % (at - base)
                turned[i, 0], turned[i, 1] = out[j, 0], out[j, 1]
            out[base:at] = turned
        out[at, 0], out[at, 1] = out[base, 0], out[base, 1]
        base = at + 1
