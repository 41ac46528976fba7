"""Compiled: an arc as walls at right angles to one another, and how far that is from the arc.

Local coordinates p and q of a corner are its place along two directions at right angles on the
ground, in the unit of a frame: a, b and c turn a step of (dx, dy) into (a dx + b dy, c dy), and the
cosine and sine of the first direction turn that. A wall runs along p (kind 0) or q (kind 1), where
the part of the arc that it stands for runs on average: so nothing is won or lost beside it.
"""

from __future__ import annotations

from math import atan2, cos, sin

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ._spill import Ints, Places
from ._thin import by_distance

Floats = NDArray[np.float64]

#: Parts of a square sample that the weight of a direction is rounded to, so that no order of a sum
#: changes it.
_WEIGHTS = 256.0
#: Numbers of a frame.
FRAME = 5


@compiled
def leanings(coords: Places, firsts: Ints, frames: Floats, most: Floats) -> Ints:
    """Return where the sides of arcs lead, whatever multiple of a right angle they are turned by.

    That is the sum of their squared lengths, as vectors at four times their angle, (n, 2).

    Args:
        coords: Corners, one arc after the other.
        firsts: First of every arc, and the number of corners.
        frames: a, b and c of every arc, and what is not looked at, (n, 5).
        most: Squared distance that corners lie from a side at most.
    """
    sums = np.zeros((len(firsts) - 1, 2), np.int64)
    for arc in range(len(firsts) - 1):
        line = coords[firsts[arc] : firsts[arc + 1]]
        a, b, c = frames[arc, 0], frames[arc, 1], frames[arc, 2]
        keep = np.empty(len(line), np.bool_)
        by_distance(line, (a * a, a * b, b * b + c * c), most[arc], keep)
        last = 0
        for k in range(1, len(line)):
            if keep[k]:
                dx, dy = float(line[k, 0] - line[last, 0]), float(line[k, 1] - line[last, 1])
                x, y = a * dx + b * dy, c * dy
                angle, weight = 4 * atan2(y, x), _WEIGHTS * (x * x + y * y) / most[arc]
                sums[arc, 0] += np.int64(np.rint(weight * cos(angle)))
                sums[arc, 1] += np.int64(np.rint(weight * sin(angle)))
                last = k
    return sums


@compiled
def _local(line: Places, frame: Floats) -> Floats:
    """Return p and q of corners, from the first one on, and the areas below them, (n, 4)."""
    n = len(line)
    out = np.zeros((n, 4), np.float64)
    for k in range(n):
        dx, dy = float(line[k, 0] - line[0, 0]), float(line[k, 1] - line[0, 1])
        x, y = frame[0] * dx + frame[1] * dy, frame[2] * dy
        out[k, 0], out[k, 1] = frame[3] * x + frame[4] * y, frame[3] * y - frame[4] * x
        if k:
            dp, dq = out[k, 0] - out[k - 1, 0], out[k, 1] - out[k - 1, 1]
            out[k, 2] = out[k - 1, 2] + dp * (out[k, 1] + out[k - 1, 1]) / 2
            out[k, 3] = out[k - 1, 3] + dq * (out[k, 0] + out[k - 1, 0]) / 2
    return out


@compiled
def _runs(local: Floats, keep: NDArray[np.bool_], ring: bool) -> Ints:
    """Return what follows one direction: first corner and kind, (n, 2); none of what has one."""
    n = len(local)
    runs = np.empty((n, 2), np.int64)
    count, last = 0, 0
    for k in range(1, n):
        if keep[k]:
            dp, dq = local[k, 0] - local[last, 0], local[k, 1] - local[last, 1]
            kind = 0 if abs(dp) >= abs(dq) else 1
            if count == 0 or runs[count - 1, 1] != kind:
                runs[count, 0], runs[count, 1] = last, kind
                count += 1
            last = k
    if ring and count > 1 and runs[0, 1] == runs[count - 1, 1]:
        return runs[1:count].copy()  # the last one goes on beyond the start
    return runs[:count].copy()


@compiled
def _end(runs: Ints, r: int, n: int, ring: bool) -> int:
    """Return the last corner of a run."""
    if r + 1 < len(runs):
        return int(runs[r + 1, 0])
    return int(runs[0, 0]) if ring else n - 1


@compiled
def _advance(local: Floats, runs: Ints, r: int, ring: bool) -> float:
    """Return how far a run gets along its direction."""
    kind = runs[r, 1]
    return float(local[_end(runs, r, len(local), ring), kind] - local[runs[r, 0], kind])


@compiled
def _offset(local: Floats, runs: Ints, r: int, ring: bool) -> float:
    """Return where a wall lies across its direction."""
    n, kind, low = len(local), runs[r, 1], runs[r, 0]
    high = _end(runs, r, n, ring)
    if not ring and r == 0:
        return float(local[0, 1 - kind])  # through the node
    if not ring and r == len(runs) - 1:
        return float(local[n - 1, 1 - kind])
    area = local[high, 2 + kind] - local[low, 2 + kind]
    if high <= low:
        area += local[n - 1, 2 + kind]
    return float(area / _advance(local, runs, r, ring))


@compiled
def _without(runs: Ints, r: int, ring: bool) -> Ints:
    """Return runs without a short one, those before and behind it in one."""
    count = len(runs)
    left = np.ones(count, np.bool_)
    left[r] = False
    if ring or 0 < r < count - 1:
        left[(r + 1) % count] = False
    rest = runs[left]
    if not ring and r == 0:
        rest[0, 0] = 0
    return rest


@compiled
def walls(line: Places, ring: bool, frame: Floats, limits: tuple[float, float]) -> Floats:
    """Return the corners of an arc's walls in local coordinates; none where it has none.

    Args:
        line: The arc's corners; the last of a ring is its first.
        ring: Whether it is one that meets no node; ends of others stay.
        frame: a, b, c, cosine and sine, (5,).
        limits: Squared distance that corners lie from a side at most, and the length of the
            shortest wall; a ring has four walls, however short.

    Returns:
        p and q, and the corner of the arc that each stands for, (n, 3); counted on beyond the end
        of a ring, which is closed.
    """
    none = np.zeros((0, 3), np.float64)
    n = len(line)
    local, keep = _local(line, frame), np.empty(n, np.bool_)
    a, b, c = frame[0], frame[1], frame[2]
    by_distance(line, (a * a, a * b, b * b + c * c), limits[0], keep)
    runs = _runs(local, keep, ring)
    while len(runs) > (4 if ring else 1):
        short = 0
        for r in range(1, len(runs)):
            one = abs(_advance(local, runs, r, ring))
            if one < abs(_advance(local, runs, short, ring)):
                short = r
        if abs(_advance(local, runs, short, ring)) >= limits[1]:
            break
        runs = _without(runs, short, ring)
    count = len(runs)
    if count < (4 if ring else 1) or (ring and count % 2):
        return none
    out, at = np.empty((count + 2, 3), np.float64), 0
    if not ring:
        out[0, 0], out[0, 1], out[0, 2] = local[0, 0], local[0, 1], 0
        at = 1
    for r in range(0 if ring else 1, count):
        before = r - 1 if r else count - 1
        for one in (before, r):
            if abs(_advance(local, runs, one, ring)) <= 0:
                return none
            out[at, 1 - runs[one, 1]] = _offset(local, runs, one, ring)
        out[at, 2] = runs[r, 0] + (n - 1 if ring and runs[r, 0] < runs[0, 0] else 0)
        at += 1
    if ring:
        out[at, 0], out[at, 1], out[at, 2] = out[0, 0], out[0, 1], out[0, 2] + n - 1
    else:
        out[at, 0], out[at, 1], out[at, 2] = local[n - 1, 0], local[n - 1, 1], n - 1
    return out[: at + 1].copy()


@compiled
def _on_edge(line: Places, most: tuple[int, int]) -> bool:
    """Whether a side of an arc lies on the edge of the map."""
    for axis in range(2):
        for k in range(1, len(line)):
            here = line[k, axis]
            if here == line[k - 1, axis] and (here == 0 or here == most[axis]):
                return True
    return False


@compiled
def fitted(
    coords: Places,
    firsts: Ints,
    rings: NDArray[np.bool_],
    frames: Floats,
    limits: Floats,
    most: tuple[int, int],
) -> tuple[Places, Ints, Places]:
    """Return arcs as walls, their corners rounded to whole numbers.

    Args:
        coords: Corners, one arc after the other.
        firsts: First of every arc, and the number of corners.
        rings: Which of them are rings.
        frames: Of every arc, (n, 5).
        limits: Those of `walls`, of every arc, (n, 2).
        most: Largest x and y on the map; an arc along its edge stays, and one whose walls would
            leave it.

    Returns:
        Corners, (n, 2); how many each arc has, 0 where it stays; the corner of the arc that each
        stands for, and 0, (n, 2).
    """
    out = np.empty((2 * len(coords) + 2 * len(firsts), 2), np.int32)
    bases, counts = np.zeros(out.shape, np.int32), np.zeros(len(firsts) - 1, np.int64)
    at = 0
    for arc in range(len(firsts) - 1):
        line = coords[firsts[arc] : firsts[arc + 1]]
        made = walls(line, rings[arc], frames[arc], (limits[arc, 0], limits[arc, 1]))
        a, b, c = frames[arc, 0], frames[arc, 1], frames[arc, 2]
        cosine, sine = frames[arc, 3], frames[arc, 4]
        begin, inside = at, not _on_edge(line, most)
        for k in range(len(made)):
            x, y = cosine * made[k, 0] - sine * made[k, 1], sine * made[k, 0] + cosine * made[k, 1]
            dy = y / c
            out[at, 0] = line[0, 0] + np.int64(np.rint((x - b * dy) / a))
            out[at, 1] = line[0, 1] + np.int64(np.rint(dy))
            bases[at, 0] = np.int64(made[k, 2])
            inside &= 0 <= out[at, 0] <= most[0] and 0 <= out[at, 1] <= most[1]
            if at > begin and out[at, 0] == out[at - 1, 0] and out[at, 1] == out[at - 1, 1]:
                if k == len(made) - 1:  # what leads to the end belongs to the side before it
                    bases[at - 1, 0] = bases[at, 0]
                continue
            at += 1
        if not inside or at - begin < (5 if rings[arc] else 2):
            at = begin
        counts[arc] = at - begin
    return out[:at].copy(), counts, bases[:at].copy()
