"""How much of a tile is read, made and stored at a time."""

from __future__ import annotations

from math import ceil

from ..tiling import TilePlan

#: Numbers that are divided at a time where halves are blended.
HALF_ROOM = 1 << 23
#: Scores of the result that are interpolated at a time.
_RESULT = 1 << 21


def strip_rows(plan: TilePlan, block_rows: int) -> int:
    """Return how many rows a tile reads at a time: whole file blocks, about a stride of them."""
    stride = ceil(plan.stride[0])
    if block_rows > 2 * plan.window[0]:  # a file of one huge block gains nothing from whole blocks
        return stride
    return ceil(stride / block_rows) * block_rows


def chunk_shape(plan: TilePlan) -> tuple[int, ...]:
    """Return the chunks of the work store: they never cross a core, so each has one writer."""
    target = 512 if plan.grid.ndim == 2 else 64
    chunks = []
    for extent, core in zip(plan.output.shape, plan.core, strict=True):
        if core >= extent:
            chunks.append(min(extent, target))
            continue
        divisor = next(d for d in range(min(core, target), 0, -1) if core % d == 0)
        chunks.append(divisor if divisor >= target // 8 else core)
    return tuple(chunks)


def result_rows(outputs: int, inner: int) -> int:
    """Return how many rows of the result, of ``inner`` samples, are made at a time."""
    return max(1, _RESULT // (outputs * inner))
