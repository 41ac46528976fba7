"""What one model call takes on this machine, measured once before a run."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from ..errors import ConfigError
from ..models import Model
from ..tiling import TilePlan
from . import _kernels as kernels
from . import _machine as machine


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory and time of a model.

    Args:
        reserved: Host bytes of the process before the first call: interpreter, libraries, weights.
        workspace: Host bytes that calls add.
        device_workspace: Bytes that weights and calls hold on a device with memory of its own.
        device_free: Free bytes there before the first call; None: the device is the host.
        seconds: Time of the first call of a full microbatch.
    """

    reserved: int
    workspace: int
    device_workspace: int
    device_free: int | None
    seconds: float


def calibrate(model: Model, plan: TilePlan) -> Footprint:
    """Call the model once on zeros, so that it allocates what it will hold; load the blend's loops.

    Raises:
        ConfigError: The output does not have the shape that the card says.
    """
    torch.set_num_threads(plan.threads)
    reserved, free = machine.resident(), _free(model.device)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(kernels.load, model.card.schema.dtype)
        began = time.perf_counter()
        workspace = machine.growth(lambda: _call(model, plan))
        seconds = time.perf_counter() - began
        loading.result()
    held = 0 if free is None else torch.cuda.max_memory_allocated(model.device)
    return Footprint(reserved, workspace, held, free, seconds)


def _free(device: torch.device) -> int | None:
    """Return the bytes this process may hold on a device of its own memory, or None."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)


def _call(model: Model, plan: TilePlan) -> None:
    shape = (plan.microbatch, len(model.card.channels), *plan.window)
    with torch.inference_mode():
        raw = model(torch.zeros(shape, device=model.device))
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
    found, wanted = tuple(raw.shape), (plan.microbatch, model.card.outputs, *plan.window)
    if found != wanted:
        raise ConfigError(
            f"model {model.card.name!r} gave {found} for an input of {shape}, expected {wanted}: "
            "its card does not fit its weights"
        )
