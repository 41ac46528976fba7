"""Compiled loops over the samples of a block, (z, y, x), z of extent 1 in a scene.

Labels are int32, below 0 where nothing was measured. ``steps`` lead from a sample to those of its
neighbours that come before it, (k, 3), so every pair is seen once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ._union import root_of

Ints = NDArray[np.int64]
Labels = NDArray[np.int32]

#: Columns of a piece's sums; those of axes are three each, z, y, x.
KEY, SIZE, AMOUNT, SCORE, LOW, HIGH, MOMENT = 0, 1, 2, 3, 4, 7, 10
COLUMNS = 13
_FAR = np.iinfo(np.int64).max
#: A pair is one number: the one's number, times this, plus the other's.
PAIR = 1 << 31
#: Odd, and near 2^64 over the golden ratio: spreads numbers over a table (Knuth, TAOCP 6.4).
_SPREAD = np.uint64(11400714819323198485)


@compiled
def number(block: Labels, steps: Ints, ids: Labels) -> int:
    """Number the connected pieces of a block by their first samples.

    Args:
        block: Labels.
        steps: To earlier neighbours.
        ids: Filled with the piece of every sample, raveled; -1 where nothing was measured.

    Returns:
        The number of pieces.
    """
    deep, high, wide = block.shape
    flat = block.ravel()
    away, across = np.empty(len(steps), np.int64), np.empty(len(steps), np.int64)
    for z in range(deep):
        for y in range(high):
            near = 0  # the steps that stay inside, and how far they lead
            for k in range(len(steps)):
                if z + steps[k, 0] >= 0 and 0 <= y + steps[k, 1] < high:
                    away[near] = (steps[k, 0] * high + steps[k, 1]) * wide + steps[k, 2]
                    across[near] = steps[k, 2]
                    near += 1
            row = (z * high + y) * wide
            for x in range(wide):
                place = row + x
                label = flat[place]
                if label < 0:
                    ids[place] = -1
                    continue
                ids[place] = place
                for k in range(near):
                    other = place + away[k]
                    if not 0 <= x + across[k] < wide or flat[other] != label:
                        continue
                    if ids[other] == ids[place]:
                        continue
                    if ids[place] == place:  # alone so far
                        ids[place] = ids[other]
                        continue
                    one, two = root_of(ids, other), root_of(ids, place)
                    if one < two:
                        ids[two] = one
                    else:
                        ids[one] = two
    count = 0
    for place in range(ids.shape[0]):  # what a sample belongs to lies before it, and has its number
        if ids[place] == place:
            ids[place] = count
            count += 1
        elif ids[place] >= 0:
            ids[place] = ids[ids[place]]
    return count


@compiled
def measure(
    block: Labels,
    ids: Labels,
    place: tuple[Ints, Ints],
    amounts: Ints,
    scores: Ints,
    pieces: tuple[Labels, Ints],
) -> None:
    """Sum up what is known of the pieces, run by run.

    Args:
        block: Labels.
        ids: Piece of every sample, raveled.
        place: The block's first index in the map, and the map's shape, (z, y, x) each.
        amounts: Of a sample in every slice and row of the block, (z, y).
        scores: Of every sample, raveled, or empty.
        pieces: Filled: label of every piece, and its sums, (n, `COLUMNS`), zeros so far.
    """
    labels, sums = pieces
    (start, shape), (deep, high, wide) = place, block.shape
    for z in range(deep):
        for y in range(high):
            row, x = (z * high + y) * wide, 0
            while x < wide:
                begin, piece = x, ids[row + x]
                score = 0
                while x < wide and ids[row + x] == piece:
                    if scores.shape[0]:
                        score += scores[row + x]
                    x += 1
                if piece < 0:
                    continue
                own, many = sums[piece], x - begin
                at = (z + start[0], y + start[1], begin + start[2])
                end = (at[0] + 1, at[1] + 1, at[2] + many)
                if own[SIZE] == 0:
                    labels[piece] = block[z, y, begin]
                    own[KEY] = (at[0] * shape[1] + at[1]) * shape[2] + at[2]
                    own[LOW : LOW + 3] = _FAR
                own[SIZE] += many
                own[AMOUNT] += many * amounts[z, y]
                own[SCORE] += score
                for axis in range(3):
                    own[LOW + axis] = min(own[LOW + axis], at[axis])
                    own[HIGH + axis] = max(own[HIGH + axis], end[axis])
                    own[MOMENT + axis] += many * (at[axis] + end[axis])


@compiled
def _slot(keys: Ints, code: Any) -> Any:
    """Return where a number is, or has room, in a table whose length is a power of 2."""
    last = keys.shape[0] - 1
    at = np.int64((np.uint64(code) * _SPREAD) >> np.uint64(32)) & last
    while keys[at] != code and keys[at] != -1:
        at = (at + 1) & last
    return at


@compiled
def borders(
    block: Labels, ids: Labels, steps: Ints, wanted: bool, opened: NDArray[np.bool_]
) -> tuple[Ints, Ints]:
    """Return the pairs of pieces of different labels that touch.

    Args:
        block: Labels.
        ids: Piece of every sample, raveled.
        steps: To earlier neighbours; those along one axis share a side.
        wanted: Whether pairs are; else none are returned.
        opened: Set at pieces that touch what was not measured.

    Returns:
        Every pair as a number, smaller piece first, and the sides it shares; -1 where a row of the
        table is empty.
    """
    deep, high, wide = block.shape
    flat = block.ravel()
    keys, sides = np.full(1024, -1, np.int64), np.zeros(1024, np.int64)
    used, at = 0, 0
    last = np.int64(-1)
    for k in range(steps.shape[0]):
        side = np.int64(abs(steps[k, 0]) + abs(steps[k, 1]) + abs(steps[k, 2]) == 1)
        away = (steps[k, 0] * high + steps[k, 1]) * wide + steps[k, 2]
        for z in range(max(0, -steps[k, 0]), deep):
            for y in range(max(0, -steps[k, 1]), high - max(0, steps[k, 1])):
                row = (z * high + y) * wide
                for x in range(max(0, -steps[k, 2]), wide - max(0, steps[k, 2])):
                    if flat[row + x] == flat[row + x + away]:
                        continue
                    one, other = ids[row + x], ids[row + x + away]
                    if one < 0 or other < 0:
                        opened[max(one, other)] = True
                        continue
                    if not wanted:
                        continue
                    code = np.int64(min(one, other)) * PAIR + np.int64(max(one, other))
                    if code != last:
                        at, last = _slot(keys, code), code
                        if keys[at] == -1:
                            keys[at] = code
                            used += 1
                    sides[at] += side
                    if 2 * used > keys.shape[0]:
                        keys, sides = _larger(keys, sides)
                        last = np.int64(-1)
    return keys, sides


@compiled
def _larger(keys: Ints, sides: Ints) -> tuple[Ints, Ints]:
    """Return a table with four times as much room."""
    wider, sums = np.full(4 * keys.shape[0], -1, np.int64), np.zeros(4 * keys.shape[0], np.int64)
    for i in range(keys.shape[0]):
        if keys[i] != -1:
            at = _slot(wider, keys[i])
            wider[at], sums[at] = keys[i], sides[i]
    return wider, sums
