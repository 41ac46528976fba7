"""Compiled loops over all classes of a window.

With many classes the blend costs as much as the network where it is made of whole-array steps, each
of which goes through memory. Here every score is read, activated, weighted and added in one go, a
few samples of all classes at a time.

No loop reorders or fuses what is added (numba does neither unless told to), so a sample's bits
depend on its own scores and weights alone, however the rows are shared among threads. All arrays
are C-contiguous; the second axis is the one that is swept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled

NONE, SIGMOID, SOFTMAX = 0, 1, 2
#: Scores worked on at a time: 256 KiB of them stay in a core's second cache.
_ROOM = 1 << 16
#: Samples whose best channel is looked for at a time: theirs stay in the first cache.
_LANE = 128


@compiled
def _exp(x: np.float32) -> Any:
    """Return e**x, of relative error below 3e-7 where x > -10: Cephes, exp2f (S. Moshier, 1992).

    Spelled out, because then the loops around it are vectorised.
    """
    x = x if x > np.float32(-87) else np.float32(-87)
    x = x if x < np.float32(87) else np.float32(87)
    t = x * np.float32(1.44269504)
    whole = np.floor(t + np.float32(0.5))
    f = t - whole
    p = np.float32(1.535336188319500e-4)
    p = p * f + np.float32(1.339887440266574e-3)
    p = p * f + np.float32(9.618437357674640e-3)
    p = p * f + np.float32(5.550332471162809e-2)
    p = p * f + np.float32(2.402264791363012e-1)
    p = p * f + np.float32(6.931472028550421e-1)
    p = p * f + np.float32(1)
    return p * np.int32((np.int32(whole) + 127) << 23).view(np.float32)


@compiled
def _softmax(line: NDArray[np.float32], weight: NDArray[np.float32], n: int) -> None:
    """Turn n samples into exponentials, and divide their weights by the exponentials' sums."""
    high = np.full(n, -np.inf, np.float32)
    total = np.zeros(n, np.float32)
    for k in range(line.shape[0]):
        for i in range(n):
            high[i] = line[k, i] if line[k, i] > high[i] else high[i]
    for k in range(line.shape[0]):
        for i in range(n):
            line[k, i] = _exp(line[k, i] - high[i])
            total[i] += line[k, i]
    for i in range(n):
        weight[i] /= total[i]


@compiled
def _sigmoid(line: NDArray[np.float32], n: int) -> None:
    for k in range(line.shape[0]):
        for i in range(n):
            line[k, i] = np.float32(1) / (np.float32(1) + _exp(-line[k, i]))


@compiled
def add_rows(
    raw: NDArray[np.float32],
    ring: NDArray[np.float32],
    activation: int,
    rows: tuple[int, int, int],
    columns: tuple[int, int, int],
    samples: tuple[int, int, int],
    tapers: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    weights: NDArray[np.float32],
) -> bool:
    """Add some rows of a window's raw output to the ring, activated and weighted.

    Args:
        raw: Raw output, (k, d, h, w).
        ring: Sums of weighted scores, (k, depth, y, x); with ``weights`` one channel more.
        activation: `NONE`, `SIGMOID` or `SOFTMAX`.
        rows: First and end row in ``raw``, and the first one's row in the ring, which wraps.
        columns: First and end column in ``raw``, and the first one's column in the ring.
        samples: The same along the last axis.
        tapers: Weights along d, h and w.
        weights: Weights (d, h, w) in place of the tapers' product, or empty. What they sum to is
            gathered in the ring's last channel.

    Returns:
        Whether all of it was finite.
    """
    classes, depth = raw.shape[0], ring.shape[1]
    room = max(64, _ROOM // classes)
    wide = min(room, samples[1] - samples[0])
    high = max(1, room // wide)
    line = np.empty((classes, high * wide), np.float32)
    weight = np.empty(high * wide, np.float32)
    doubt = np.zeros(high * wide, np.float32)
    mapped = weights.size > 0
    for r in range(rows[0], rows[1]):
        to_row = (rows[2] + r - rows[0]) % depth
        for column in range(columns[0], columns[1], high):
            deep = min(high, columns[1] - column)
            to_column = columns[2] + column - columns[0]
            for start in range(samples[0], samples[1], wide):
                n = min(wide, samples[1] - start)
                to = samples[2] + start - samples[0]
                taper = tapers[2][start : start + n]
                for c in range(deep):
                    both = tapers[0][r] * tapers[1][column + c]
                    out = weight[c * n : c * n + n]
                    for i in range(n):
                        out[i] = both * taper[i]
                    if mapped:
                        own = weights[r, column + c, start : start + n]
                        sums = ring[classes, to_row, to_column + c, to : to + n]
                        for i in range(n):
                            out[i] = own[i]
                            sums[i] += own[i]
                for k in range(classes):
                    for c in range(deep):
                        out = line[k, c * n : c * n + n]
                        found = raw[k, r, column + c, start : start + n]
                        for i in range(n):
                            out[i] = found[i]
                            doubt[i] += found[i] * np.float32(0)  # NaN for NaN and infinity
                if activation == SOFTMAX:
                    _softmax(line, weight, deep * n)
                elif activation == SIGMOID:
                    _sigmoid(line, deep * n)
                for k in range(classes):
                    for c in range(deep):
                        scores = line[k, c * n : c * n + n]
                        factor = weight[c * n : c * n + n]
                        sums = ring[k, to_row, to_column + c, to : to + n]
                        for i in range(n):
                            sums[i] += scores[i] * factor[i]
    return not np.isnan(doubt).any()


@compiled
def finish_rows(
    ring: NDArray[np.float32], first: int, end: int, classes: int, activation: int
) -> None:
    """Turn what was added up in some rows of the ring into scores, in place.

    Args:
        ring: Sums, (k, depth, y, x). Where it has a channel more than classes, that is what the
            weights sum to, and all others are divided by it.
        first: First row of the ring; they do not wrap.
        end: End row.
        classes: Channels of scores.
        activation: `NONE`, `SIGMOID` or `SOFTMAX`.
    """
    divided = ring.shape[0] > classes
    room = min(ring.shape[3], max(64, _ROOM // classes))
    line = np.empty((classes, room), np.float32)
    factor = np.empty(room, np.float32)
    for r in range(first, end):
        for c in range(ring.shape[2]):
            for start in range(0, ring.shape[3], room):
                n = min(room, ring.shape[3] - start)
                for k in range(classes):
                    found = ring[k, r, c, start : start + n]
                    for i in range(n):
                        line[k, i] = found[i]
                if divided:
                    total = ring[classes, r, c, start : start + n]
                    for k in range(classes):
                        for i in range(n):
                            if total[i] > np.float32(0):  # no window where nothing is wanted
                                line[k, i] /= total[i]
                for i in range(n):
                    factor[i] = np.float32(1)
                if activation == SOFTMAX:
                    _softmax(line, factor, n)
                elif activation == SIGMOID:
                    _sigmoid(line, n)
                for k in range(classes):
                    out = ring[k, r, c, start : start + n]
                    for i in range(n):
                        out[i] = line[k, i] * factor[i]


@compiled
def make_rows(
    ring: NDArray[np.float32],
    rows: tuple[NDArray[np.int64], NDArray[np.float32]],
    columns: tuple[NDArray[np.int64], NDArray[np.float32]],
    samples: tuple[NDArray[np.int64], NDArray[np.float32]],
    span: tuple[int, int],
    found: NDArray[np.float32],
) -> None:
    """Write samples that are weighted sums of a ring's, along every axis of one or two.

    Args:
        ring: Scores, (k, depth, y, x).
        rows: Per row to make, the ring's rows it is made of and their weights, (n, taps) each.
        columns: The same along y.
        samples: The same along x.
        span: First and end of the columns to make.
        found: What is made, (k, n, y, x); written.
    """
    line = np.empty(ring.shape[3], np.float32)
    for k in range(found.shape[0]):
        for r in range(found.shape[1]):
            for c in range(span[0], span[1]):
                for a in range(rows[0].shape[1]):
                    for b in range(columns[0].shape[1]):
                        both = rows[1][r, a] * columns[1][c, b]
                        values = ring[k, rows[0][r, a], columns[0][c, b]]
                        if a == 0 and b == 0:
                            for i in range(line.shape[0]):
                                line[i] = both * values[i]
                        else:
                            for i in range(line.shape[0]):
                                line[i] += both * values[i]
                out = found[k, r, c]
                if samples[0].shape[1] == 1:
                    for i in range(out.shape[0]):
                        out[i] = line[samples[0][i, 0]]
                else:
                    for i in range(out.shape[0]):
                        low = samples[1][i, 0] * line[samples[0][i, 0]]
                        out[i] = low + samples[1][i, 1] * line[samples[0][i, 1]]


@compiled
def decide_rows(
    ring: NDArray[np.float32], first: int, labels: NDArray[Any], found: NDArray[Any]
) -> None:
    """Write the labels of the best channels of ring rows; of equal scores the first channel wins.

    A single channel stands for the second of two labels where it exceeds 0.5.

    Args:
        ring: Scores, (k, depth, y, x).
        first: First row of the ring; they do not wrap.
        labels: Label of every channel; two for a single channel.
        found: Labels, (rows, y, x); written.
    """
    high = np.empty(_LANE, np.float32)
    index = np.empty(_LANE, np.int16)
    for r in range(found.shape[0]):
        for c in range(found.shape[1]):
            for start in range(0, found.shape[2], _LANE):
                n = min(_LANE, found.shape[2] - start)
                scores = ring[0, first + r, c, start : start + n]
                for i in range(n):
                    high[i] = scores[i]
                    index[i] = 1 if ring.shape[0] == 1 and high[i] > np.float32(0.5) else 0
                for k in range(1, ring.shape[0]):
                    scores = ring[k, first + r, c, start : start + n]
                    for i in range(n):
                        index[i] = k if scores[i] > high[i] else index[i]
                        high[i] = scores[i] if scores[i] > high[i] else high[i]
                out = found[r, c, start : start + n]
                for i in range(n):
                    out[i] = labels[index[i]]


@compiled
def paint_rows(
    ring: NDArray[np.float32],
    first: int,
    limits: NDArray[np.float32],
    labels: NDArray[Any],
    found: NDArray[Any],
) -> None:
    """Write the label of the last channel that exceeds its limit, of ring rows.

    Args:
        ring: Scores, (k, depth, y, x).
        first: First row of the ring; they do not wrap.
        limits: What the score of every channel must exceed.
        labels: Label where none does, then of every channel.
        found: Labels, (rows, y, x); written.
    """
    for r in range(found.shape[0]):
        for c in range(found.shape[1]):
            out = found[r, c]
            out[:] = labels[0]
            for k in range(ring.shape[0]):
                scores = ring[k, first + r, c]
                label, limit = labels[k + 1], limits[k]
                for i in range(found.shape[2]):
                    out[i] = label if scores[i] > limit else out[i]


@compiled
def admit_rows(
    ring: NDArray[np.float32],
    first: int,
    limits: NDArray[np.float32],
    labels: NDArray[Any],
    found: NDArray[Any],
) -> None:
    """Write the label of the best of the channels that exceed their limits, of ring rows.

    Of equal scores the first channel wins.

    Args:
        ring: Scores, (k, depth, y, x).
        first: First row of the ring; they do not wrap.
        limits: What the score of every channel must exceed.
        labels: Label of every channel, then of what none of them is.
        found: Labels, (rows, y, x); written.
    """
    high = np.empty(_LANE, np.float32)
    index = np.empty(_LANE, np.int16)
    for r in range(found.shape[0]):
        for c in range(found.shape[1]):
            for start in range(0, found.shape[2], _LANE):
                n = min(_LANE, found.shape[2] - start)
                high[:] = -np.inf
                index[:] = ring.shape[0]
                for k in range(ring.shape[0]):
                    scores, limit = ring[k, first + r, c, start : start + n], limits[k]
                    for i in range(n):
                        better = scores[i] > limit and scores[i] > high[i]
                        index[i] = k if better else index[i]
                        high[i] = scores[i] if better else high[i]
                out = found[r, c, start : start + n]
                for i in range(n):
                    out[i] = labels[index[i]]


def load(labels: np.dtype[Any], resampled: bool = False) -> None:
    """Make loops ready: half a second, or three when they were never used on this machine.

    Args:
        labels: Type of the labels.
        resampled: Whether the result lies on another grid than the model's.
    """
    raw, tapers = np.zeros((1, 1, 1, 1), np.float32), (np.ones(1, np.float32),) * 3
    add_rows(raw, raw.copy(), NONE, (0, 1, 0), (0, 1, 0), (0, 1, 0), tapers, raw[0, :0])
    finish_rows(raw, 0, 1, 1, NONE)
    decide_rows(raw, 0, np.zeros(2, labels), np.zeros((1, 1, 1), labels))
    if resampled:
        one = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32)
        make_rows(raw, one, one, one, (0, 1), raw.copy())
