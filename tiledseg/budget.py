"""Bytes of memory a run needs, and the largest core that fits; refuses before any work.

Host and device are counted apart. On the CPU the device is the host, and all counts there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, prod

from .errors import BudgetExceeded, ConfigError
from .taper import Taper
from .tiling import TilePlan

#: Samples per axis beyond which a larger core saves little work (window 512, stride 384: 4 %) and
#: a killed run loses much.
LARGEST_CORE = {2: 8192, 3: 512}
#: Numbers that are divided at a time where halves are blended.
HALF_ROOM = 1 << 23
#: Cores are multiples of this, so that whole chunks of the work store belong to one tile.
QUANTUM = {2: 256, 3: 64}

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}


#: Scores of the result that are interpolated at a time.
_RESULT = 1 << 21


#: No machine has as many bytes.
_ADDRESSES = 2**63


def parse_bytes(text: str) -> int:
    """Return the bytes that ``"6GB"``, ``"500 MiB"`` or ``"1500000000"`` mean.

    Raises:
        ConfigError: The text is no such amount.

    >>> parse_bytes("1.5GB"), parse_bytes("2 MiB")
    (1500000000, 2097152)
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)(i?)b?\s*", text.lower())
    try:
        number = float(match[1]) if match else -1.0
    except ValueError:
        number = -1.0
    unit = _UNITS[match[2]] if match else 1
    if match and match[3]:
        unit = 1024 ** list(_UNITS).index(match[2])
    if not 0 < number * unit < _ADDRESSES:
        raise ConfigError(
            f"memory {text!r:.80} is not an amount of bytes; write it like 6GB or 512MiB"
        )
    return int(number * unit)


def format_bytes(amount: float) -> str:
    """Return bytes as people write them.

    >>> format_bytes(9_812_000_000)
    '9.8 GB'
    """
    for unit in ("GB", "MB", "kB"):
        size = {"GB": 1e9, "MB": 1e6, "kB": 1e3}[unit]
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount:.0f} B"


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


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that may be held at a time.

    Args:
        host: By the process on the host.
        device: On a device with memory of its own, or None.
    """

    host: int
    device: int | None = None


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
    tiles = _calls(cost) * cost.workspace + cost.workers * host
    return cost.reserved + max(cost.fixed + tiles, end_bytes(plan, cost))


def end_bytes(plan: TilePlan, cost: Cost) -> int:
    """Return what a run holds once its tiles are done, besides the program and the model."""
    rows = chunk_shape(plan)[0] * prod(plan.output.shape[1:])
    assembling = rows * (cost.label_bytes + 4 + 2 * cost.outputs * cost.score_bytes)
    return cost.fixed + cost.after + assembling


def _calls(cost: Cost) -> int:
    """Return how many calls hold memory: workers' threads, and the main one that made the first."""
    return cost.workers + (cost.workers > 1)


def device_bytes(plan: TilePlan, cost: Cost) -> int:
    """Return the most bytes held on a device of its own memory; 0 where there is none."""
    if cost.device_workspace is None:
        return 0
    tile = cost.device_workspace + tile_bytes(plan, cost)[1]
    return cost.device_reserved + cost.workers * tile


def fits(plan: TilePlan, cost: Cost, budget: Budget) -> bool:
    """Whether a plan keeps within the budget."""
    return total_bytes(plan, cost) <= budget.host and (
        budget.device is None or device_bytes(plan, cost) <= budget.device
    )


def fit_core(plan: TilePlan, cost: Cost, budget: Budget, least: int = 1) -> TilePlan:
    """Return the plan with the largest core that fits.

    Args:
        plan: A plan; its core is replaced.
        cost: What one tile costs.
        budget: What may be held.
        least: Tiles that there should be, so that every worker has one, where the image is large
            enough.

    Raises:
        BudgetExceeded: Even the smallest core does not fit; the sentence gives the numbers.
    """
    n = plan.grid.ndim
    parts = [ceil(e / LARGEST_CORE[n]) for e in plan.output.shape]
    while True:
        fitted = replace(plan, core=_core(plan, parts))
        if fits(fitted, cost, budget):
            return _cut(plan, parts, least)
        # The extent along axis 0 costs no memory: only the inner axes are cut.
        axis = max(range(1, n), key=lambda a: fitted.core[a])
        if fitted.core[axis] <= min(QUANTUM[n], plan.output.shape[axis]):
            raise _refusal(fitted, cost, budget)
        parts[axis] += 1


def _cut(plan: TilePlan, parts: list[int], least: int) -> TilePlan:
    """Return the plan with more cores along axis 0, which cost no memory, until they suffice."""
    fitted = replace(plan, core=_core(plan, parts))
    while len(fitted) < least and fitted.core[0] > QUANTUM[plan.grid.ndim]:
        parts[0] += 1
        fitted = replace(plan, core=_core(plan, parts))
    return fitted


def check_core(plan: TilePlan, cost: Cost, budget: Budget) -> TilePlan:
    """Return the plan as it is, or refuse a core the user chose.

    Raises:
        BudgetExceeded: The core does not fit.
    """
    if not fits(plan, cost, budget):
        raise _refusal(plan, cost, budget)
    return plan


def _core(plan: TilePlan, parts: list[int]) -> tuple[int, ...]:
    quantum = QUANTUM[plan.grid.ndim]
    lengths = (
        ceil(n / p / quantum) * quantum for n, p in zip(plan.output.shape, parts, strict=True)
    )
    return tuple(min(c, n) for c, n in zip(lengths, plan.output.shape, strict=True))


def _refusal(plan: TilePlan, cost: Cost, budget: Budget) -> BudgetExceeded:
    need = total_bytes(plan, cost)
    if need <= budget.host:
        return BudgetExceeded(
            f"tile core {plan.core} needs {format_bytes(device_bytes(plan, cost))} on the device, "
            f"budget is {format_bytes(budget.device or 0)} "
            f"({format_bytes(cost.device_reserved + cost.workers * (cost.device_workspace or 0))} "
            "of it taken by the model): raise "
            "budget.device_memory, or lower tiling.window, tiling.core, runtime.microbatch or "
            "runtime.workers"
        )
    if cost.reserved + cost.fixed > budget.host:
        return BudgetExceeded(
            f"the program, its libraries, the model and open files take "
            f"{format_bytes(cost.reserved + cost.fixed)} before any tile, budget is "
            f"{format_bytes(budget.host)}: raise budget.memory"
        )
    if cost.reserved + end_bytes(plan, cost) > budget.host:
        remedy = ", leave out polygons and surfaces, or have the class map written to a file"
        return BudgetExceeded(
            f"putting {plan.output.shape} samples together needs {format_bytes(need)} "
            f"({format_bytes(cost.after)} of it for a class map in memory and vectors), budget is "
            f"{format_bytes(budget.host)}: raise budget.memory{remedy if cost.after else ''}"
        )
    return BudgetExceeded(
        f"tile core {plan.core} needs {format_bytes(need)}, budget is {format_bytes(budget.host)} "
        f"({format_bytes(cost.reserved + cost.fixed)} of it taken before any tile, "
        f"{format_bytes(_calls(cost) * cost.workspace)} by the model): raise budget.memory, or "
        "lower tiling.window, tiling.core, runtime.microbatch or runtime.workers"
    )
