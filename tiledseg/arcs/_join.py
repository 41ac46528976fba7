"""Pieces of arcs that lines between bands cut -> whole arcs, in their canonical direction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..compiled import compiled
from ..io import Ledger
from ._spill import Ints, Places, read_corners, starts_in
from ._trace import CLOSED

#: Corners that are joined at a time.
_BATCH = 1 << 20


@dataclass(frozen=True)
class Joined:
    """Whole arcs made of pieces.

    Args:
        pieces: The pieces they are made of.
        starts: Place of every arc's first corner.
        rows: Corners, component left and right, start and end of every arc, (n, 5), as pieces.
    """

    pieces: Ints
    starts: Ints
    rows: Places


def join(ledger: Ledger, starts: Ints, rows: Places, pairs: Places) -> Joined:
    """Join what belongs together.

    Args:
        ledger: Where the corners are; those of whole arcs follow their pieces'.
        starts: Place of every piece's first corner.
        rows: The pieces, (n, 5), as `trace` returns them.
        pairs: Ends that belong together, (n, 2): twice the piece, plus 1 where it ends.
    """
    partner = np.full(2 * len(rows), -1, np.int32)
    partner[pairs[:, 0]], partner[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    involved = np.unique(pairs >> 1).astype(np.int32)
    made_starts, made_rows = [np.zeros(0, np.int64)], [np.zeros((0, 5), np.int32)]

    def step(chains: tuple[Places, Ints, bool]) -> tuple[Places, Places]:
        own, ends, cyclic = chains
        pieces = own >> 1
        coords = read_corners(ledger, starts[pieces], rows[pieces, 0].astype(np.int64))
        backwards = (own & 1).astype(np.uint8)
        out, made = _joined(coords, rows[pieces], backwards, ends, cyclic)
        return out, made

    for cyclic in (False, True):
        walked, firsts = _chains(partner, involved, cyclic)
        for entry in ledger.steps(step, _batches(rows, walked, firsts, cyclic)):
            made = entry[1]
            made_starts.append(starts_in(entry, 0, made[:, 0]))
            made_rows.append(made)
    return Joined(involved.astype(np.int64), np.concatenate(made_starts), np.concatenate(made_rows))


def _batches(
    rows: Places, walked: Places, firsts: Ints, cyclic: bool
) -> Iterator[tuple[Places, Ints, bool]]:
    """Yield some chains at a time: their pieces, the first of each, and whether they are rings."""
    if not len(walked):
        return
    lengths = np.add.reduceat(rows[walked >> 1, 0].astype(np.int64), firsts[:-1])
    batch = np.cumsum(lengths) // _BATCH
    for some in np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(batch)) + 1):
        low, high = firsts[some[0]], firsts[some[-1] + 1]
        yield walked[low:high], firsts[some[0] : some[-1] + 2] - low, cyclic


@compiled
def _chains(partner: Places, involved: Places, cyclic: bool) -> tuple[Places, Ints]:
    """Follow pieces from end to end.

    Args:
        partner: The end that every end goes on at, or -1. Set to -2 at both ends of what was
            followed.
        involved: Pieces with an end that goes on.
        cyclic: Whether rings are followed, else what starts at a node.

    Returns:
        Pieces in the order they are walked, twice the number, plus 1 where they are walked
        backwards; and the first one of every chain, with their number in the end.
    """
    walked = np.empty(len(involved), np.int32)
    firsts = np.empty(len(involved) + 1, np.int64)
    many = count = 0
    for piece in involved:
        one, other = 2 * piece, 2 * piece + 1
        if partner[one] == -2 or (not cyclic and partner[one] >= 0 and partner[other] >= 0):
            continue
        entry = other if not cyclic and partner[one] >= 0 else one
        firsts[count] = many
        count += 1
        while True:
            walked[many] = entry
            many += 1
            leave = entry ^ 1
            onward = partner[leave]
            partner[entry] = -2
            partner[leave] = -2
            if onward < 0 or partner[onward] == -2:
                break
            entry = onward
    firsts[count] = many
    return walked[:many], firsts[: count + 1]


@compiled
def _joined(
    coords: Places, rows: Places, backwards: Places, firsts: Ints, cyclic: bool
) -> tuple[Places, Places]:
    """Return the corners of whole arcs, and their rows.

    Args:
        coords: Corners of the pieces, one after the other.
        rows: The pieces.
        backwards: Whether a piece is walked backwards.
        firsts: First piece of every arc, and their number.
        cyclic: Whether they are rings.
    """
    many = len(firsts) - 1
    out = np.empty((len(coords) + many, 2), np.int32)
    made = np.empty((many, 5), np.int32)
    whole = np.empty((len(coords), 2), np.int32)
    at = to = 0
    for arc in range(many):
        n = 0
        for piece in range(firsts[arc], firsts[arc + 1]):
            count = rows[piece, 0]
            for i in range(count):
                k = at + count - 1 - i if backwards[piece] else at + i
                whole[n, 0], whole[n, 1] = coords[k, 0], coords[k, 1]
                n += 1
            at += count
        one, last = firsts[arc], firsts[arc + 1] - 1
        made[arc, 1] = rows[one, 2 if backwards[one] else 1]
        made[arc, 2] = rows[one, 1 if backwards[one] else 2]
        begin = rows[one, 4 if backwards[one] else 3]
        end = rows[last, 3 if backwards[last] else 4]
        low, step = 0, 1
        if cyclic:
            begin = end = CLOSED
            for i in range(1, n):
                if whole[i, 1] < whole[low, 1] or (
                    whole[i, 1] == whole[low, 1] and whole[i, 0] < whole[low, 0]
                ):
                    low = i
            if whole[(low + 1) % n, 1] != whole[low, 1]:  # it must lead east
                step = -1
        else:
            dy, dx = whole[n - 1, 1] - whole[0, 1], whole[n - 1, 0] - whole[0, 0]
            if dy < 0 or (dy == 0 and (dx < 0 or (dx == 0 and (end & 3) < (begin & 3)))):
                low, step = n - 1, -1
        if step < 0:
            begin, end = end, begin
            made[arc, 1], made[arc, 2] = made[arc, 2], made[arc, 1]
        made[arc, 0] = n + 1 if cyclic else n
        made[arc, 3], made[arc, 4] = begin, end
        for i in range(made[arc, 0]):
            k = (low + step * i) % n
            out[to, 0], out[to, 1] = whole[k, 0], whole[k, 1]
            to += 1
    return out[:to].copy(), made
