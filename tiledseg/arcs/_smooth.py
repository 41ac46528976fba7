"""Arcs without the steps that samples have, once for both neighbours: no gaps, no overlaps.

A step is a side of one sample between a turn to one hand and a turn to the other. Both its corners
are cut off, from the middle of the step to half the length of the side before or behind it, where
that is no more than one sample longer than the other of the two; else to half of what the other one
and a sample are long. So steps of equal length, and those that differ by a sample, as they do along
a straight line, become that line; a long wall with one step in it keeps its direction. Corners of
other sides stay as they are: a single sample stays a square, and a house rectangular.

What is cut off is a triangle within one row or column of samples, on two sides of one arc, so the
border moves by less than half a sample. No other arc comes into it: one that leaves a side would
end the arc there. Triangles share at most the middle of a side, so a coverage stays valid, and
there is nothing to repair. Ends of arcs stay. Areas change, and what one side of an arc loses is
won by the other: along steps of one kind triangles lie on both sides in turns and cancel out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ._arcs import Arcs
from ._batches import batches_of, corners_of
from ._spill import Ints, Places, starts_in


def smooth(arcs: Arcs) -> Arcs:
    """Return arcs without steps, their corners in half samples.

    Args:
        arcs: Arcs as they were traced; their ledger does the work, several batches at a time.

    Raises:
        OutputFailed: The ledger's folder has no room.
    """

    def step(which: Ints) -> tuple[Places, Ints]:
        made: tuple[Places, Ints] = smoothed(*corners_of(arcs, which), arcs.rows[which, 3] < 0)
        return made

    batches = batches_of(arcs, arcs.there)
    starts, rows = np.zeros(len(arcs), np.int64), arcs.rows.copy()
    for which, entry in zip(batches, arcs.ledger.steps(step, batches), strict=True):
        starts[which] = starts_in(entry, 0, entry[1])
        rows[which, 0] = entry[1]
    return replace(arcs, starts=starts, rows=rows)


@compiled
def smoothed(coords: Places, firsts: Ints, rings: NDArray[np.bool_]) -> tuple[Places, Ints]:
    """Return the corners of some arcs in half samples, without steps, and how many each has.

    Args:
        coords: Their corners, one arc after the other.
        firsts: First of every arc, and the number of corners.
        rings: Which of them are rings, that meet no node.
    """
    out = np.empty((2 * len(coords), 2), np.int32)
    counts = np.empty(len(firsts) - 1, np.int64)
    at = 0
    for arc in range(len(firsts) - 1):
        line = coords[firsts[arc] : firsts[arc + 1]]
        if rings[arc]:
            line = line[:-1]
        cut = _cut(line, rings[arc])
        counts[arc] = _straight(cut, rings[arc], out[at:])
        at += counts[arc]
    return out[:at].copy(), counts


@compiled
def _cut(line: Places, ring: bool) -> Places:
    """Return the corners of an arc in half samples, those of steps cut off; a ring is left open."""
    n = len(line)
    sides = n if ring else n - 1
    move, length = np.zeros((n, 2), np.int32), np.zeros(n, np.int32)
    for k in range(sides):
        dx, dy = line[(k + 1) % n, 0] - line[k, 0], line[(k + 1) % n, 1] - line[k, 1]
        length[k] = abs(dx) + abs(dy)
        move[k, 0], move[k, 1] = (dx > 0) - (dx < 0), (dy > 0) - (dy < 0)
    turn = np.zeros(n, np.int32)
    for k in range(0 if ring else 1, n if ring else n - 1):
        turn[k] = move[k - 1, 0] * move[k, 1] - move[k - 1, 1] * move[k, 0]
    step = np.zeros(n, np.bool_)
    for k in range(sides):
        step[k] = length[k] == 1 and turn[k] * turn[(k + 1) % n] < 0
    out = np.empty((2 * n, 2), np.int32)
    at = 0
    for k in range(n):
        inner = ring or 0 < k < n - 1
        if not inner or not (step[k - 1] or step[k]):
            out[at, 0], out[at, 1] = 2 * line[k, 0], 2 * line[k, 1]
            at += 1
            continue
        back, ahead = length[k - 1], length[k]
        if step[k]:
            back = min(back, length[(k + 1) % n] + 1)
        if step[k - 1]:
            ahead = min(ahead, length[k - 2] + 1)
        for axis in range(2):
            out[at, axis] = 2 * line[k, axis] - back * move[k - 1, axis]
            out[at + 1, axis] = 2 * line[k, axis] + ahead * move[k, axis]
        at += 2
    return out[:at]


@compiled
def _straight(line: Places, ring: bool, out: Places) -> int:
    """Write the corners of an arc where it turns, and return how many; a ring is closed."""
    n = 0
    for k in range(len(line)):  # two cuts of a side may meet in its middle
        if n == 0 or line[k, 0] != line[n - 1, 0] or line[k, 1] != line[n - 1, 1]:
            line[n, 0], line[n, 1] = line[k, 0], line[k, 1]
            n += 1
    if ring and line[0, 0] == line[n - 1, 0] and line[0, 1] == line[n - 1, 1]:
        n -= 1
    line, at, least = line[:n], 0, 0
    for k in range(n):
        if ring or 0 < k < n - 1:
            ax, ay = line[k, 0] - line[k - 1, 0], line[k, 1] - line[k - 1, 1]
            bx, by = line[(k + 1) % n, 0] - line[k, 0], line[(k + 1) % n, 1] - line[k, 1]
            if np.int64(ax) * by == np.int64(ay) * bx:
                continue
        out[at, 0], out[at, 1] = line[k, 0], line[k, 1]
        if out[at, 1] < out[least, 1] or (
            out[at, 1] == out[least, 1] and out[at, 0] < out[least, 0]
        ):
            least = at
        at += 1
    if ring:
        turned = out[:at].copy()
        for i in range(at + 1):
            out[i, 0], out[i, 1] = turned[(least + i) % at, 0], turned[(least + i) % at, 1]
        at += 1
    return at
