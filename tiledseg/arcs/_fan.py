"""Compiled: walls as sides with detours, and the areas below arcs and between them and walls."""

from __future__ import annotations

from math import hypot

import numpy as np

from ..compiled import compiled
from ._spill import Ints, Places


@compiled
def fanned(
    coords: Places, firsts: Ints, made: tuple[Places, Ints, Places]
) -> tuple[Places, Ints, Ints, Ints]:
    """Return arcs as sides with detours, as `conflicts` wants them.

    The detour of a wall leads from its first corner to the part of the arc that it stands for,
    along that, and to its last corner.

    Args:
        coords: Corners of the arcs, one arc after the other.
        firsts: First of every arc, and the number of corners.
        made: What `fitted` gave; of arcs that stay, no corners.

    Returns:
        full: Corners.
        sides: Places there of the first and the last corner of every side, (n, 2).
        owners: The arc of every side.
        areas: Twice the area between the sides of every arc and their detours, at most.
    """
    new, counts, bases = made
    room = len(coords) + 3 * len(new) + len(coords)
    full, sides = np.empty((room, 2), np.int32), np.empty((len(coords) + len(new), 2), np.int64)
    owners, areas = np.empty(len(sides), np.int64), np.zeros(len(firsts) - 1, np.int64)
    at = count = begin = 0
    for arc in range(len(firsts) - 1):
        low, n = firsts[arc], firsts[arc + 1] - firsts[arc]
        if counts[arc] == 0:
            for k in range(n):
                full[at, 0], full[at, 1] = coords[low + k, 0], coords[low + k, 1]
                if k:
                    sides[count, 0], sides[count, 1], owners[count] = at - 1, at, arc
                    count += 1
                at += 1
            continue
        for k in range(begin, begin + counts[arc] - 1):
            first = at
            full[at, 0], full[at, 1] = new[k, 0], new[k, 1]
            at += 1
            for i in range(bases[k, 0], bases[k + 1, 0] + 1):
                j = low + (i if i < n else i - n + 1)
                full[at, 0], full[at, 1] = coords[j, 0], coords[j, 1]
                at += 1
            full[at, 0], full[at, 1] = new[k + 1, 0], new[k + 1, 1]
            sides[count, 0], sides[count, 1], owners[count] = first, at, arc
            areas[arc] += np.int64(np.ceil(_beside(full[first : at + 1])))
            count += 1
            at += 1
        begin += counts[arc]
    return full[:at].copy(), sides[:count].copy(), owners[:count].copy(), areas


@compiled
def _beside(detour: Places) -> float:
    """Return twice the area that lies between a detour and the straight line between its ends."""
    n = len(detour)
    dx = float(detour[n - 1, 0] - detour[0, 0])
    dy = float(detour[n - 1, 1] - detour[0, 1])
    long = hypot(dx, dy)
    area = along = apart = 0.0
    for k in range(1, n):
        x, y = float(detour[k, 0] - detour[0, 0]), float(detour[k, 1] - detour[0, 1])
        t, h = (x * dx + y * dy) / long, (x * dy - y * dx) / long
        one, other = abs(apart), abs(h)
        if apart * h >= 0:
            area += (one + other) * abs(t - along)
        else:
            area += (one * one + other * other) / (one + other) * abs(t - along)
        along, apart = t, h
    return area


@compiled
def below(coords: Places, firsts: Ints) -> Ints:
    """Return twice the signed area of the arcs with the map's first corner; rings sum up to theirs.

    Sums may go beyond 64 bits and come back: those of components fit.
    """
    areas = np.zeros(len(firsts) - 1, np.int64)
    for arc in range(len(firsts) - 1):
        for k in range(firsts[arc], firsts[arc + 1] - 1):
            areas[arc] += np.int64(coords[k, 0]) * np.int64(coords[k + 1, 1])
            areas[arc] -= np.int64(coords[k + 1, 0]) * np.int64(coords[k, 1])
    return areas
