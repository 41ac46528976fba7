"""The bytes that a run of a plan holds: what it does, step by step, added up."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod

from ..taper import Taper
from ..tiling import TilePlan
from ._rows import HALF_ROOM, chunk_shape, result_rows, strip_rows


@dataclass(frozen=True, slots=True)
class Cost:
    """What a byte count needs besides the plan.

    Args:
        reserved: Interpreter, libraries and weights: resident before any tile starts.
        workspace: What one model call of a microbatch adds on the host, measured once.
        channels: Input channels of the source and of the model.
        itemsize: Bytes per source sample.
        outputs: Score channels of the model.
        label_bytes: Bytes per sample of the class map.
        score_bytes: Bytes per stored score, 0 where no scores are kept.
        workers: Tiles computed at the same time.
        block_rows: Rows the source reads at once.
        fixed: Caches and whole-image memory of readers, held all the time.
        after: Whole-image memory of what is returned and of vectors, held once the tiles are done.
        stacked: Networks whose outputs are blended side by side.
        device_reserved: What the weights hold on a device with memory of its own.
        device_workspace: What one model call adds there; None: the device is the host.
        interpolated: Where the image is resampled, per axis: samples of the file that are read for
            one that the model sees, and how many besides.
        shown_bytes: Bytes read per sample of the result to see where it is wanted, where that is
            another grid.
    """

    reserved: int
    workspace: int
    channels: int
    itemsize: int
    outputs: int
    label_bytes: int
    score_bytes: int = 0
    workers: int = 1
    block_rows: int = 1
    fixed: int = 0
    after: int = 0
    stacked: int = 1
    device_reserved: int = 0
    device_workspace: int | None = None
    interpolated: tuple[tuple[float, int], ...] | None = None
    shown_bytes: int = 0


def tile_bytes(plan: TilePlan, cost: Cost) -> tuple[int, int]:
    """Return the most bytes one tile holds at a time, besides the model's workspace.

    Returns:
        What stays on the host, and what lies where the model is.
    """
    inner_core, scored = prod(plan.core[1:]), _scored(plan)
    read = [
        min(c + 2 * w, max(w, n + plan.multiple))
        for c, w, n in zip(scored[1:], plan.window[1:], plan.grid.shape[1:], strict=True)
    ]
    inner_read, inner_scored = prod(read), prod(scored[1:])
    strip = strip_rows(plan, cost.block_rows)
    # Raw samples, their float32 copy and one more while a normalisation step runs; three masks.
    reading = 2 * strip * inner_read * (cost.channels * (cost.itemsize + 8) + 4)
    reading += _interpolating((strip, *read), cost)
    masks = (plan.window[0] + strip) * inner_read * 2
    per_sample = cost.label_bytes + cost.outputs * cost.score_bytes
    final = plan.window[0] if plan.target is None else _users(plan, 0, plan.window[0])
    rows = 2 * (final + chunk_shape(plan)[0])
    writing = rows * inner_core * (per_sample + 2)
    inputs = (plan.window[0] + strip) * inner_read * cost.channels * 4
    ring = plan.window[0] * inner_scored * (cost.outputs + (plan.weight_map is not None)) * 4
    if plan.taper is Taper.NNUNET:  # halves of every network, weights, and rows divided at a time
        rows = min(plan.window[0], max(1, HALF_ROOM // (cost.outputs * inner_scored)))
        ring = plan.window[0] * inner_scored * 2 * (cost.outputs * cost.stacked + 1)
        ring += prod(plan.window) * 4 + rows * cost.outputs * inner_scored * 4
    window = prod(plan.window) * 4
    # The gathered windows and a copy in the model's layout.
    batch = 2 * plan.microbatch * window * cost.channels
    encoding = max(1 << 18, inner_core) * cost.outputs * (cost.score_bytes + 4)
    if plan.target is not None:
        masks += _asking(plan, (strip, *read), cost)
        ring += _resulting(plan, scored, cost)
    there = inputs + ring + batch + (encoding if cost.score_bytes else 0)
    if cost.device_workspace is not None:
        # Strips are normalised there; a window's scores in whole steps; best channels of all rows.
        there += reading + 3 * window * cost.outputs + plan.window[0] * inner_core * 16
    return reading + masks + writing, there


def _scored(plan: TilePlan) -> tuple[int, ...]:
    """Return the most samples of the model's grid, per axis, that a core is made of."""
    if plan.target is None:
        return plan.core
    sizes = zip(plan.core, plan.target.scaling.scale, plan.grid.shape, strict=True)
    return tuple(min(n, ceil(c * scale) + 2) for c, scale, n in sizes)


def _users(plan: TilePlan, axis: int, samples: int) -> int:
    """Return the most samples of the result that so many of the model's grid have a part in."""
    if plan.target is None:
        return samples
    most = ceil((samples + 2) / plan.target.scaling.scale[axis]) + 1
    return min(plan.output.shape[axis], most)


def _interpolating(made: tuple[int, ...], cost: Cost) -> int:
    """Return the bytes that making a strip of samples takes besides the samples."""
    if cost.interpolated is None:
        return 0
    needed = [ceil(n * s) + more for n, (s, more) in zip(made, cost.interpolated, strict=True)]
    # One axis after the other, a channel at a time in float64; the one before and the one after.
    steps = [prod(made[:axis]) * prod(needed[axis:]) for axis in range(len(made) + 1)]
    pairs = [a + b for a, b in pairwise(steps)]
    return steps[0] * (cost.channels * cost.itemsize + 8 + 4) + 8 * (max(pairs) + 3 * steps[-1])


def _asking(plan: TilePlan, strip: tuple[int, ...], cost: Cost) -> int:
    """Return the bytes that telling where a result is wanted takes, and rows that wait."""
    seen = prod(_users(plan, axis, n) for axis, n in enumerate(strip))
    rows = _users(plan, 0, plan.window[0] + 2 * strip[0])
    return seen * (cost.shown_bytes + 16) + 2 * rows * prod(plan.core[1:])


def _resulting(plan: TilePlan, scored: tuple[int, ...], cost: Cost) -> int:
    """Return the bytes that bringing scores to the result's grid takes: rows and copies."""
    core = prod(plan.core[1:])
    step = result_rows(cost.outputs, core)
    between = max(core, prod(scored[1:]), plan.core[1] * prod(scored[2:]))
    return cost.outputs * 4 * ((step + 1) * between + 3 * step * between + 3 * step * core)


def total_bytes(plan: TilePlan, cost: Cost) -> int:
    """Return the most bytes the process holds on the host during a run."""
    host, device = tile_bytes(plan, cost)
    if cost.device_workspace is None:
        host += device
    tiles = calls(cost) * cost.workspace + cost.workers * host
    return cost.reserved + max(cost.fixed + tiles, end_bytes(plan, cost))


def end_bytes(plan: TilePlan, cost: Cost) -> int:
    """Return what a run holds once its tiles are done, besides the program and the model."""
    rows = chunk_shape(plan)[0] * prod(plan.output.shape[1:])
    assembling = rows * (cost.label_bytes + 4 + 2 * cost.outputs * cost.score_bytes)
    return cost.fixed + cost.after + assembling


def calls(cost: Cost) -> int:
    """Return how many calls hold memory: workers' threads, and the main one that made the first."""
    return cost.workers + (cost.workers > 1)


def device_bytes(plan: TilePlan, cost: Cost) -> int:
    """Return the most bytes held on a device of its own memory; 0 where there is none."""
    if cost.device_workspace is None:
        return 0
    tile = cost.device_workspace + tile_bytes(plan, cost)[1]
    return cost.device_reserved + cost.workers * tile
