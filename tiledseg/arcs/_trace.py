"""Compiled: the borders between components in a band of rows, as pieces of arcs.

Vertices are the corners of samples, (x, y); edges are the sides of samples whose components differ.
A node is a vertex of 3 or 4 edges. A band owns the upper and the left sides of its samples. It sees
the row above, so it knows all about its vertices but those of the line below it: a piece that gets
there is open at its bottom, and one that leaves upwards is open at its top. Neither end has a
coordinate of its own: the band below tells of the vertices on its first line.

Headings are 0 east, 1 south, 2 west, 3 north: adding 1 turns right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled

Ids = NDArray[np.int32]
Places = NDArray[np.int32]
Bits = NDArray[np.uint8]

#: Of a vertex: an edge leads east, or south; it was walked along; there is a node.
EAST, SOUTH, WALKED_EAST, WALKED_SOUTH, NODE = 1, 2, 4, 8, 16
#: Ends of a piece that are at no node.
OPEN_TOP, OPEN_BOTTOM, CLOSED = -1, -2, -3


@compiled
def mark(ids: Ids, bits: Bits) -> tuple[int, int, int]:
    """Mark edges and nodes.

    Args:
        ids: Component of every sample, (rows + 1, columns + 2): the row above first, a column of
            -1 at both sides; -1 where there is none.
        bits: Filled, (rows + 1, columns + 2): of vertex (x, y) at [y + 1, x + 1].

    Returns:
        Edges, nodes, and edges that come in from above.
    """
    rows, wide = ids.shape[0] - 1, ids.shape[1] - 1
    edges = nodes = above = 0
    for x in range(wide):
        south = ids[0, x] != ids[0, x + 1]
        bits[0, x + 1] = SOUTH if south else 0
        above += south
    for y in range(rows):
        bits[y + 1, 0] = 0
        for x in range(wide):
            p, q, r, s = ids[y, x], ids[y, x + 1], ids[y + 1, x], ids[y + 1, x + 1]
            if p == q and r == s and q == s:
                bits[y + 1, x + 1] = 0
                continue
            value = 0
            if q != s:
                value |= EAST
                edges += 1
            if r != s:
                value |= SOUTH
                edges += 1
            if (p != q) + (p != r) + (q != s) + (r != s) > 2:
                value |= NODE
                nodes += 1
            bits[y + 1, x + 1] = value
    return edges, nodes, above


@compiled
def _marked(bits: Bits, x: int, y: int, heading: int, bit: int) -> bool:
    """Whether the edge that leads from a vertex in a heading is there, or was walked along.

    Args:
        bits: Those of `mark`.
        x: Of the vertex.
        y: Of the vertex.
        heading: The heading.
        bit: `EAST` or `WALKED_EAST`; that of edges to the south is twice as much.
    """
    if heading == 0:
        return bool(bits[y + 1, x + 1] & bit)
    if heading == 1:
        return bool(bits[y + 1, x + 1] & (2 * bit))
    if heading == 2:
        return bool(bits[y + 1, x] & bit)
    return bool(bits[y, x + 1] & (2 * bit))


@compiled
def _sides(ids: Ids, x: int, y: int, heading: int) -> tuple[int, int]:
    """Return the components to the left and to the right of an edge."""
    if heading == 0:
        return ids[y, x + 1], ids[y + 1, x + 1]
    if heading == 1:
        return ids[y + 1, x + 1], ids[y + 1, x]
    if heading == 2:
        return ids[y + 1, x], ids[y, x]
    return ids[y, x], ids[y, x + 1]


@compiled
def _walk(
    bits: Bits,
    numbers: Places,
    place: tuple[int, int, int],
    first: int,
    coords: Places,
    at: int,
) -> tuple[int, int, int]:
    """Walk along an arc to where it ends, and write down its corners.

    Args:
        bits: Those of `mark`.
        numbers: Number of the node at every vertex that is one, (rows, columns + 1).
        place: x, y and heading of the start; a ring ends where it started.
        first: The map's row of the band's first line.
        coords: Filled from ``at`` on, (n, 2): x and y in the map.
        at: Coordinates so far.

    Returns:
        Coordinates so far, and where the walk ended: 4 times the node plus the heading that
        leads back from it, or one of `OPEN_TOP`, `OPEN_BOTTOM`, `CLOSED`; and the column there.
    """
    x, y, heading = place
    rows = bits.shape[0] - 1
    while True:
        if heading == 0:
            bits[y + 1, x + 1] |= WALKED_EAST
            x += 1
        elif heading == 1:
            bits[y + 1, x + 1] |= WALKED_SOUTH
            y += 1
        elif heading == 2:
            bits[y + 1, x] |= WALKED_EAST
            x -= 1
        else:
            bits[y, x + 1] |= WALKED_SOUTH
            y -= 1
        if y == rows:
            return at, OPEN_BOTTOM, x
        if bits[y + 1, x + 1] & NODE:
            coords[at, 0], coords[at, 1] = x, y + first
            return at + 1, 4 * numbers[y, x] + ((heading + 2) & 3), x
        turned = heading
        if not _marked(bits, x, y, heading, EAST):
            turned = (heading + 1) & 3
            if not _marked(bits, x, y, turned, EAST):
                turned = (heading + 3) & 3
            coords[at, 0], coords[at, 1] = x, y + first
            at += 1
        if y == 0 and turned == 3:
            return at, OPEN_TOP, x
        if x == place[0] and y == place[1]:
            return at, CLOSED, x
        heading = turned


@compiled
def trace(
    ids: Ids,
    bits: Bits,
    first: int,
    room: tuple[int, int],
) -> tuple[Places, Places, Places, Places, Places]:
    """Trace the pieces of a band.

    A piece between two nodes starts at the smaller one (row by row), one that comes back to its
    node in the first heading of its two, a ring at its smallest vertex, eastwards.

    Args:
        ids: Those of `mark`.
        bits: Those of `mark`, filled.
        first: The map's row of the band's first line.
        room: Edges and edges from above that `mark` counted.

    Returns:
        coords: x and y of the corners of all pieces, (n, 2).
        pieces: Of every piece its corners, the component left and right of it, and where it starts
            and ends, (n, 5); as `_walk` tells it.
        slots: The piece that starts or ends at every node in every heading, (nodes, 4): twice its
            number, plus 1 where it ends there; -1 where there is none.
        tops: The piece that is open at the top in every column, as in ``slots``.
        bottoms: And those open at the bottom.
    """
    rows, wide = bits.shape[0] - 1, bits.shape[1] - 1
    edges, above = room
    coords = np.empty((2 * edges + 2 * above, 2), np.int32)
    pieces = np.empty((edges + above, 5), np.int32)
    numbers = np.empty((rows, wide), np.int32)
    nodes = 0
    for y in range(rows):
        for x in range(wide):
            if bits[y + 1, x + 1] & NODE:
                numbers[y, x] = nodes
                nodes += 1
    slots = np.full((nodes, 4), -1, np.int32)
    tops, bottoms = np.full(wide, -1, np.int32), np.full(wide, -1, np.int32)
    count = at = 0
    for phase in range(3):  # from nodes and from the top, then from the bottom, then rings
        for y in range(rows + 1):
            if (y == rows) != (phase == 1):
                continue
            for x in range(wide):
                start, before = CLOSED, at
                if phase == 1:
                    if not _marked(bits, x, y, 3, EAST) or _marked(bits, x, y, 3, WALKED_EAST):
                        continue
                    start, low, high = OPEN_BOTTOM, 3, 4
                elif phase == 2:
                    if bits[y + 1, x + 1] & (EAST | WALKED_EAST) != EAST:
                        continue
                    low, high = 0, 1
                elif bits[y + 1, x + 1] & NODE:
                    start, low, high = 4 * numbers[y, x], 0, 4
                elif y == 0 and _marked(bits, x, y, 3, EAST):
                    start, low, high = OPEN_TOP, 0, 3
                else:
                    continue
                for heading in range(low, high):
                    if not _marked(bits, x, y, heading, EAST):
                        continue
                    stub = y == 0 and heading == 3 and phase == 0
                    if not stub and _marked(bits, x, y, heading, WALKED_EAST):
                        continue
                    left, right = _sides(ids, x, y, heading)
                    before = at
                    if phase != 1 and not (start == OPEN_TOP and heading == 1):
                        coords[at, 0], coords[at, 1] = x, y + first
                        at += 1
                    if stub:
                        end, column = OPEN_TOP, x
                    else:
                        at, end, column = _walk(bits, numbers, (x, y, heading), first, coords, at)
                    begin = start + heading if start >= 0 else start
                    pieces[count, 0] = at - before
                    pieces[count, 1], pieces[count, 2] = left, right
                    pieces[count, 3], pieces[count, 4] = begin, end
                    if begin >= 0:
                        slots[begin >> 2, begin & 3] = 2 * count
                    elif begin == OPEN_TOP:
                        tops[x] = 2 * count
                    elif begin == OPEN_BOTTOM:
                        bottoms[x] = 2 * count
                    if end >= 0:
                        slots[end >> 2, end & 3] = 2 * count + 1
                    elif end == OPEN_TOP:
                        tops[column] = 2 * count + 1
                    elif end == OPEN_BOTTOM:
                        bottoms[column] = 2 * count + 1
                    count += 1
    return coords[:at].copy(), pieces[:count].copy(), slots, tops, bottoms
