"""Compiled loops that blend in half precision, as nnU-Net does.

Half-precision numbers are kept as their bits, uint16: numba has no such type on the CPU. Every step
is one of float32, rounded to half precision (to nearest, ties to even), as torch and numpy do it.
As in `_kernels`, no loop reorders or fuses what is added. All arrays are C-contiguous; the second
axis is the one that is swept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled

Halves = NDArray[np.uint16]
Floats = NDArray[np.float32]


@compiled
def wide(half: np.uint16) -> Any:
    """Return the float32 of a half's bits."""
    sign = np.int32(np.int32(half & 0x8000) << 16)
    size = np.int32(half & 0x7FFF)
    # Of numbers below 2**-14 the bits are a count of 2**-24.
    tiny = np.float32(np.float32(size) * np.float32(2.0**-24)).view(np.int32)
    whole = np.int32(np.int32(size << 13) + np.int32(112 << 23))
    whole = np.int32(whole + np.int32(112 << 23)) if size >= 0x7C00 else whole  # infinity, NaN
    found = tiny if size < 0x0400 else whole
    return np.int32(found | sign).view(np.float32)


@compiled
def narrow(x: np.float32) -> Any:
    """Return the bits of the half that is nearest to a float32."""
    bits = np.float32(x).view(np.int32)
    sign = np.int32(np.int32(bits >> 16) & 0x8000)
    size = np.int32(bits & 0x7FFFFFFF)
    odd = np.int32(np.int32(size >> 13) & 1)
    whole = np.int32(np.int32(np.int32(size - np.int32(112 << 23)) + np.int32(0x0FFF + odd)) >> 13)
    # Adding 2**23 rounds a smaller float32 to a whole number; it lies in the lowest bits.
    moved = np.float32(np.int32(size).view(np.float32) * np.float32(2.0**24))
    tiny = np.int32(np.float32(moved + np.float32(2.0**23)).view(np.int32) & 0x7FFFFF)
    found = tiny if size < 0x38800000 else whole
    found = np.int32(0x7C00) if size >= 0x477FF000 else found  # from 65520 on: infinity
    found = np.int32(0x7E00) if size > 0x7F800000 else found
    return np.uint16(found | sign)


@compiled
def narrowed(x: np.float64) -> Any:
    """Return the bits of the half that is nearest to a float64.

    By way of a float32 whose last bit tells whether anything was cut off, so that nothing is
    rounded twice.
    """
    bits = np.float32(x).view(np.int32)
    cut = np.float64(np.int32(bits).view(np.float32))
    if cut != x:
        bits = np.int32(bits - 1) if abs(cut) > abs(x) else bits
        bits = np.int32(bits | 1)
    return narrow(np.int32(bits).view(np.float32))


@compiled
def make_half_rows(
    ring: Floats,
    rows: tuple[NDArray[np.int64], NDArray[np.float64]],
    columns: tuple[NDArray[np.int64], NDArray[np.float64]],
    samples: tuple[NDArray[np.int64], NDArray[np.float64]],
    span: tuple[int, int],
    found: Floats,
) -> None:
    """Write samples that are weighted sums of a ring's, added up in float64, rounded to halves.

    Args:
        ring: Halves as float32, (k, depth, y, x).
        rows: Per row to make, the ring's rows it is made of and their weights, (n, taps) each.
        columns: The same along y.
        samples: The same along x.
        span: First and end of the columns to make.
        found: What is made, (k, n, y, x), halves as float32; written.
    """
    line = np.empty(ring.shape[3], np.float64)
    for k in range(found.shape[0]):
        for r in range(found.shape[1]):
            for c in range(span[0], span[1]):
                line[:] = 0
                for a in range(rows[0].shape[1]):
                    for b in range(columns[0].shape[1]):
                        both = rows[1][r, a] * columns[1][c, b]
                        values = ring[k, rows[0][r, a], columns[0][c, b]]
                        for i in range(line.shape[0]):
                            line[i] += both * values[i]
                out = found[k, r, c]
                for i in range(out.shape[0]):
                    total = np.float64(0)
                    for t in range(samples[0].shape[1]):
                        total += samples[1][i, t] * line[samples[0][i, t]]
                    out[i] = wide(narrowed(total))


@compiled
def add_half_rows(
    raw: Floats,
    sums: Halves,
    counts: Halves,
    weights: Floats,
    rows: tuple[int, int, int],
    columns: tuple[int, int, int],
    samples: tuple[int, int, int],
) -> bool:
    """Add some rows of a window's raw output to the ring, weighted, and their weights.

    Args:
        raw: Raw output, (k, d, h, w).
        sums: Sums of weighted raw outputs, (k, depth, y, x).
        counts: Sums of weights, (depth, y, x).
        weights: Of a window's samples, (d, h, w), halves as float32.
        rows: First and end row in ``raw``, and the first one's row in the ring, which wraps.
        columns: First and end column in ``raw``, and the first one's column in the ring.
        samples: The same along the last axis.

    Returns:
        Whether all of it was finite.
    """
    n = samples[1] - samples[0]
    doubt = np.zeros(n, np.float32)
    for r in range(rows[0], rows[1]):
        to_row = (rows[2] + r - rows[0]) % counts.shape[0]
        for c in range(columns[0], columns[1]):
            to_column = columns[2] + c - columns[0]
            weight = weights[r, c, samples[0] : samples[1]]
            count = counts[to_row, to_column, samples[2] : samples[2] + n]
            for i in range(n):
                count[i] = narrow(wide(count[i]) + weight[i])
            for k in range(raw.shape[0]):
                found = raw[k, r, c, samples[0] : samples[1]]
                total = sums[k, to_row, to_column, samples[2] : samples[2] + n]
                for i in range(n):
                    total[i] = narrow(wide(total[i]) + found[i] * weight[i])
                    doubt[i] += found[i] * np.float32(0)  # NaN for NaN and infinity
    return not np.isnan(doubt).any()


@compiled
def divide_rows(
    sums: Halves,
    counts: Halves,
    row: int,
    rows: tuple[int, int],
    columns: tuple[int, int],
    out: Floats,
) -> bool:
    """Divide some rows of the ring by their weights; the mean of several networks is the result.

    Where nothing was added, the result is 0.

    Args:
        sums: (f * k, depth, y, x): of f networks, one after the other.
        counts: (depth, y, x).
        row: First row of the ring; they do not wrap.
        rows: First and end row of ``out`` to work on.
        columns: First and end column to work on.
        out: (k, rows, y, x); written. Halves as float32.

    Returns:
        Whether all of it was finite.
    """
    networks = sums.shape[0] // out.shape[0]
    n = counts.shape[2]
    doubt = np.zeros(n, np.float32)
    weight = np.empty(n, np.float32)
    for r in range(rows[0], rows[1]):
        for c in range(columns[0], columns[1]):
            for i in range(n):
                count = wide(counts[row + r, c, i])
                weight[i] = count if count > 0 else np.float32(1)
            for k in range(out.shape[0]):
                mean = out[k, r, c]
                total = sums[k, row + r, c]
                for i in range(n):
                    mean[i] = wide(narrow(wide(total[i]) / weight[i]))
                for f in range(1, networks):
                    total = sums[f * out.shape[0] + k, row + r, c]
                    for i in range(n):
                        one = wide(narrow(wide(total[i]) / weight[i]))
                        mean[i] = wide(narrow(mean[i] + one))
                if networks > 1:
                    for i in range(n):
                        mean[i] = wide(narrow(mean[i] / np.float32(networks)))
                for i in range(n):
                    doubt[i] += mean[i] * np.float32(0)
    return not np.isnan(doubt).any()


def load() -> None:
    """Make all loops ready: half a second, or three when they were never used on this machine."""
    raw, bits = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.uint16)
    add_half_rows(raw, bits, bits[0].copy(), raw[0], (0, 1, 0), (0, 1, 0), (0, 1, 0))
    divide_rows(bits, bits[0].copy(), 0, (0, 1), (0, 1), raw)
    one = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float64)
    make_half_rows(raw, one, one, one, (0, 1), raw.copy())
