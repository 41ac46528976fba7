"""Compiled: the rings around the faces of a plane of labels, holes joined to them by channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled

Ints = NDArray[np.int64]


@compiled
def _link(labels: NDArray[np.int32], follow: Ints) -> int:
    """Find what follows every side of a sample beyond which another label lies; return how many.

    A side runs with its sample to the right: 0 above it, 1 to the right, 2 below, 3 to the left.
    Where samples of a label touch at a corner only, a ring turns back to its own sample.
    """
    height, width = labels.shape
    out = ((-1, 0), (0, 1), (1, 0), (0, -1))
    along = ((0, 1), (1, 0), (0, -1), (-1, 0))
    count = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            own = labels[y, x]
            if own < 0:
                continue
            for side in range(4):
                dy, dx = out[side]
                if labels[y + dy, x + dx] == own:
                    continue
                ay, ax = y + along[side][0], x + along[side][1]
                if labels[ay, ax] != own:
                    after = 4 * (y * width + x) + (side + 1) % 4
                elif labels[ay + dy, ax + dx] != own:
                    after = 4 * (ay * width + ax) + side
                else:
                    after = 4 * ((ay + dy) * width + ax + dx) + (side + 3) % 4
                follow[4 * (y * width + x) + side] = after
                count += 1
    return count


@compiled
def _starts(follow: Ints, starts: Ints) -> tuple[int, int]:
    """List the first sides of rings by their samples: faces from the front, holes from the end.

    Row by row, a face is met at a side above a sample, and a hole at one below.
    """
    seen = np.zeros(len(follow), np.bool_)
    faces, holes = 0, 0
    for first in range(0, len(follow), 2):
        if follow[first] < 0 or seen[first]:
            continue
        if first % 4:
            holes += 1
            starts[len(starts) - holes] = first
        else:
            starts[faces] = first
            faces += 1
        side = first
        while not seen[side]:
            seen[side] = True
            side = follow[side]
    return faces, holes


@compiled
def _join(labels: NDArray[np.int32], follow: Ints, holes: Ints, links: Ints) -> None:
    """Join every hole to the ring that lies to the left of its first sample.

    A channel of no width leads there and back. Its ends are one more corner each: the first of hole
    n is numbered 2 n after all sides, and lies where the hole begins; the next is its other end.
    """
    sides, width = len(follow), labels.shape[1]
    for n in range(len(holes)):
        place = holes[n] // 4
        y, x = place // width + 1, place % width  # of the hole's first sample
        own = labels[y - 1, x]
        while labels[y - 1, x - 1] == own and labels[y, x - 1] == own:
            x -= 1
        if labels[y, x - 1] != own:
            there = follow[4 * (y * width + x) + 3]
        else:
            there = 4 * ((y - 1) * width + x) + 3
        begin, end = sides + 2 * n, sides + 2 * n + 1
        links[begin], links[end] = end, links[there]
        links[there], links[holes[n]] = follow[holes[n]], begin


@compiled
def _corner(side: int, follow: Ints, holes: Ints, width: int, labels: Any) -> tuple[int, int]:
    """Return where a side begins, (y, x)."""
    number = side - len(follow)
    if number >= 0:
        place = holes[number // 2] // 4
        y, x = place // width + 1, place % width
        if number % 2:
            own = labels[y - 1, x]
            while labels[y - 1, x - 1] == own and labels[y, x - 1] == own:
                x -= 1
        return y, x
    place, kind = side // 4, side % 4
    return place // width + (kind >= 2), place % width + (kind == 1 or kind == 2)


@compiled
def rings_of(
    labels: NDArray[np.int32],
) -> tuple[NDArray[np.int32], Ints, NDArray[np.int32]]:
    """Return a ring for every 4-connected face of a plane, its holes joined to it by channels.

    A ring is one polygon that encloses the face whether it is filled by the even-odd rule or by
    winding, as its channels have no width; its area is that of the face's samples.

    Args:
        labels: Of a plane, (y, x); below 0 is what has no ring. Samples of its border have none.

    Returns:
        Label of every ring, past its last corner, and the corners, (n, 2): (y, x) from the corner
        of the first sample, clockwise as seen with y downwards.
    """
    follow = np.full(4 * labels.size, -1, np.int64)
    count = _link(labels, follow)
    starts = np.empty(count // 4 + 1, np.int64)
    faces, holes = _starts(follow, starts)
    inner = starts[len(starts) - holes :][::-1].copy()
    links = np.empty(len(follow) + 2 * holes, np.int64)
    links[: len(follow)] = follow
    _join(labels, follow, inner, links)
    owners, ends = np.empty(faces, np.int32), np.empty(faces, np.int64)
    corners = np.empty((count + 4 * holes, 2), np.int32)
    width, made = labels.shape[1], 0
    for n in range(faces):
        first = starts[n]
        owners[n] = labels[(first // 4) // width, (first // 4) % width]
        y, x = _corner(first, follow, inner, width, labels)
        going, side = (-1, 0), first  # up the side to the left of the first sample
        while True:
            side = links[side]
            ny, nx = _corner(side, follow, inner, width, labels)
            turned = (np.sign(ny - y), np.sign(nx - x))
            if turned != going:
                corners[made, 0], corners[made, 1] = y, x
                made += 1
            going, y, x = turned, ny, nx
            if side == first:
                break
        ends[n] = made
    return owners, ends, corners[:made]
