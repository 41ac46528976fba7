"""Compiled: where simplified arcs cross, touch, or have changed sides with one another.

A side is what lies between two kept corners of an arc that follow one another; its detour is the
arc's own way between them. Two sides are in conflict where they meet elsewhere than in a common
end. A side is in conflict with a kept corner between it and its detour: the corner has come to
its other side. Unsimplified arcs have neither, so sides are to blame that have a detour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ._spill import Ints, Places

Mask = NDArray[np.bool_]


@compiled
def kept_places(full: Places, firsts: Ints, thin: Places, thins: Ints) -> Ints:
    """Return the place in ``full`` of every corner in ``thin``.

    Args:
        full: All corners of some arcs, one arc after the other.
        firsts: First of every arc, and their number.
        thin: Those that were kept.
        thins: First of every arc, and their number.
    """
    places = np.empty(len(thin), np.int64)
    for arc in range(len(firsts) - 1):
        at = firsts[arc]
        for k in range(thins[arc], thins[arc + 1]):
            while full[at, 0] != thin[k, 0] or full[at, 1] != thin[k, 1]:
                at += 1
            places[k] = at
            at += 1
    return places


@compiled
def _turn(a: Places, b: Places, c: Places) -> int:
    """Return twice the signed area of a triangle."""
    bx, by = np.int64(b[0]) - a[0], np.int64(b[1]) - a[1]
    cx, cy = np.int64(c[0]) - a[0], np.int64(c[1]) - a[1]
    return int(bx * cy - by * cx)


@compiled
def _within(a: Places, b: Places, c: Places) -> bool:
    """Whether a corner that is in line with a side lies on it, its ends left out."""
    if (c[0] == a[0] and c[1] == a[1]) or (c[0] == b[0] and c[1] == b[1]):
        return False
    return bool(
        min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])
    )


@compiled
def _meet(a: Places, b: Places, c: Places, d: Places) -> bool:
    """Whether two sides meet elsewhere than in a common end."""
    one, two = _turn(a, b, c), _turn(a, b, d)
    three, four = _turn(c, d, a), _turn(c, d, b)
    if ((one > 0 and two < 0) or (one < 0 and two > 0)) and (
        (three > 0 and four < 0) or (three < 0 and four > 0)
    ):
        return True
    if one == 0 and _within(a, b, c):
        return True
    if two == 0 and _within(a, b, d):
        return True
    if three == 0 and _within(c, d, a):
        return True
    if four == 0 and _within(c, d, b):
        return True
    same = a[0] == c[0] and a[1] == c[1] and b[0] == d[0] and b[1] == d[1]
    turned = a[0] == d[0] and a[1] == d[1] and b[0] == c[0] and b[1] == c[1]
    return bool(same or turned)


@compiled
def _between(full: Places, low: int, high: int, c: Places, box: Ints) -> bool:
    """Whether a corner lies between a side and its detour, on neither of them.

    Args:
        full: All corners.
        low: Place of the detour's first one.
        high: And of its last.
        c: The corner.
        box: Extent of the detour.
    """
    inside = False
    x, y = np.int64(c[0]), np.int64(c[1])
    if not (box[0] < x < box[2] and box[1] < y < box[3]):
        return False
    for k in range(low, high + 1):
        a = full[k]
        b = full[low] if k == high else full[k + 1]
        if a[0] == x and a[1] == y:
            return False
        if (a[1] > y) != (b[1] > y):
            turn = (np.int64(b[0]) - a[0]) * (y - a[1]) - (x - a[0]) * (np.int64(b[1]) - a[1])
            if turn == 0:
                return False
            if (turn > 0) == (b[1] > a[1]):
                inside = not inside
    return inside


@compiled
def _cells(box: Ints, frame: Ints) -> tuple[int, int, int, int]:
    """Return the columns and rows of cells that a box lies in, clipped to the frame's."""
    size, x, y, across, down = frame
    return (
        max(0, (box[0] - x) // size),
        min(across - 1, (box[2] - x) // size),
        max(0, (box[1] - y) // size),
        min(down - 1, (box[3] - y) // size),
    )


@compiled
def _box(full: Places, low: int, high: int, step: int, box: Ints) -> None:
    """Fill in the extent of every ``step``-th corner from ``low`` to ``high``: x, y, x, y."""
    box[0] = box[2] = full[low, 0]
    box[1] = box[3] = full[low, 1]
    for k in range(low + step, high + 1, step):
        box[0], box[2] = min(box[0], full[k, 0]), max(box[2], full[k, 0])
        box[1], box[3] = min(box[1], full[k, 1]), max(box[3], full[k, 1])


@compiled
def _filed(full: Places, sides: Ints, frame: Ints) -> tuple[Ints, Ints]:
    """Return the sides in every cell of a frame: first of every cell, and they themselves."""
    count = frame[3] * frame[4]
    firsts, box = np.zeros(count + 1, np.int64), np.empty(4, np.int64)
    for turn in range(2):
        if turn == 1:
            for cell in range(count):
                firsts[cell + 1] += firsts[cell]
            held, at = np.empty(firsts[count], np.int64), firsts[:count].copy()
        for side in range(len(sides)):
            low, high = sides[side]
            _box(full, low, high, high - low, box)
            left, right, top, bottom = _cells(box, frame)
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    cell = row * frame[3] + column
                    if turn == 0:
                        firsts[cell + 1] += 1
                    else:
                        held[at[cell]] = side
                        at[cell] += 1
    return firsts, held


@compiled
def conflicts(full: Places, sides: Ints, changed: Mask, frame: Ints, blamed: Mask) -> None:
    """Find the sides that are in conflict.

    Args:
        full: All corners of the arcs.
        sides: Places of the first and the last corner of every side, (n, 2).
        changed: Whether a side's arc has changed; conflicts of others are known.
        frame: Size of a cell, x and y of the first one, and cells across and down. What lies
            beyond is not looked at.
        blamed: Set at sides with a detour that are in conflict.
    """
    firsts, held = _filed(full, sides, frame)
    fresh = np.zeros(len(firsts) - 1, np.bool_)  # cells with a side that has changed
    for cell in range(len(firsts) - 1):
        for k in range(firsts[cell], firsts[cell + 1]):
            fresh[cell] |= changed[held[k]]
    box = np.empty(4, np.int64)
    for side in range(len(sides)):
        low, high = sides[side]
        if high - low < 2:
            continue
        a, b = full[low], full[high]
        _box(full, low, high, 1, box)
        left, right, top, bottom = _cells(box, frame)
        for row in range(top, bottom + 1):
            for column in range(left, right + 1):
                cell = row * frame[3] + column
                if not (changed[side] or fresh[cell]):
                    continue
                for k in range(firsts[cell], firsts[cell + 1]):
                    other = held[k]
                    if other == side or not (changed[side] or changed[other]):
                        continue
                    c, d = full[sides[other, 0]], full[sides[other, 1]]
                    if _apart(box, c, d):
                        continue
                    spare = sides[other, 1] - sides[other, 0] > 1 and not blamed[other]
                    if (spare or not blamed[side]) and _meet(a, b, c, d):
                        blamed[side] = True
                        if spare:
                            blamed[other] = True
                    if not blamed[side] and (
                        _between(full, low, high, c, box) or _between(full, low, high, d, box)
                    ):
                        blamed[side] = True


@compiled
def _apart(box: Ints, c: Places, d: Places) -> bool:
    """Whether a box and the side between two corners have nothing in common, by their extents."""
    return bool(
        (c[0] < box[0] and d[0] < box[0])
        or (c[0] > box[2] and d[0] > box[2])
        or (c[1] < box[1] and d[1] < box[1])
        or (c[1] > box[3] and d[1] > box[3])
    )


@compiled
def put_back(
    full: Places, firsts: Ints, kept: tuple[Ints, Ints], blamed: Mask
) -> tuple[Places, Ints]:
    """Return the kept corners of arcs with those put back that are farthest from blamed sides.

    Args:
        full: All corners of the arcs.
        firsts: First of every arc, and their number.
        kept: Places of those kept, and the first of every arc there, and their number.
        blamed: Which sides are to blame, by their first corner.

    Returns:
        The corners, one arc after the other, and how many each has.
    """
    places, thins = kept
    more, counts = np.empty((2 * len(places), 2), np.int32), np.zeros(len(firsts) - 1, np.int64)
    count = 0
    for arc in range(len(firsts) - 1):
        begin = count
        for k in range(thins[arc], thins[arc + 1]):
            low = places[k]
            more[count, 0], more[count, 1] = full[low, 0], full[low, 1]
            count += 1
            if not blamed[k]:
                continue
            high = places[k + 1]
            place, most = low, np.int64(-1)
            for i in range(low + 1, high):
                area = abs(_turn(full[low], full[high], full[i]))
                if area > most:
                    place, most = i, area
            if place > low:
                more[count, 0], more[count, 1] = full[place, 0], full[place, 1]
                count += 1
        counts[arc] = count - begin
    return more[:count].copy(), counts
