"""The largest core that keeps within a budget, or a refusal that gives the numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from ..errors import BudgetExceeded
from ..tiling import TilePlan
from ._cost import Cost, calls, device_bytes, end_bytes, total_bytes
from ._text import format_bytes

#: Samples per axis beyond which a larger core saves little work (window 512, stride 384: 4 %) and
#: a killed run loses much.
_LARGEST_CORE = {2: 8192, 3: 512}
#: Cores are multiples of this, so that whole chunks of the work store belong to one tile.
_QUANTUM = {2: 256, 3: 64}


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that may be held at a time.

    Args:
        host: By the process on the host.
        device: On a device with memory of its own, or None.
    """

    host: int
    device: int | None = None


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
    parts = [ceil(e / _LARGEST_CORE[n]) for e in plan.output.shape]
    while True:
        fitted = replace(plan, core=_core(plan, parts))
        if fits(fitted, cost, budget):
            return _cut(plan, parts, least)
        # The extent along axis 0 costs no memory: only the inner axes are cut.
        axis = max(range(1, n), key=lambda a: fitted.core[a])
        if fitted.core[axis] <= min(_QUANTUM[n], plan.output.shape[axis]):
            raise _refusal(fitted, cost, budget)
        parts[axis] += 1


def _cut(plan: TilePlan, parts: list[int], least: int) -> TilePlan:
    """Return the plan with more cores along axis 0, which cost no memory, until they suffice."""
    fitted = replace(plan, core=_core(plan, parts))
    while len(fitted) < least and fitted.core[0] > _QUANTUM[plan.grid.ndim]:
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
    quantum = _QUANTUM[plan.grid.ndim]
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
        remedy = ", leave out post-processing and vectors, or have the map written to a file"
        return BudgetExceeded(
            f"putting {plan.output.shape} samples together needs {format_bytes(need)} "
            f"({format_bytes(cost.after)} of it for a class map in memory and for "
            f"post-processing and vectors), budget is {format_bytes(budget.host)}: "
            f"raise budget.memory{remedy if cost.after else ''}"
        )
    return BudgetExceeded(
        f"tile core {plan.core} needs {format_bytes(need)}, budget is {format_bytes(budget.host)} "
        f"({format_bytes(cost.reserved + cost.fixed)} of it taken before any tile, "
        f"{format_bytes(calls(cost) * cost.workspace)} by the model): raise budget.memory, or "
        "lower tiling.window, tiling.core, runtime.microbatch or runtime.workers"
    )
