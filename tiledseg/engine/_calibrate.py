"""What one model call takes on this machine, measured once before a run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from ..errors import BudgetExceeded, ConfigError, TiledsegError
from ..models import Model, using_threads
from ..taper import Taper
from ..tiling import TilePlan
from . import _half_kernels as half_kernels
from . import _kernels as kernels
from . import _machine as machine
from ._lane import out_of_memory


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory and time of a model.

    Args:
        reserved: Host bytes of the process before the first call: interpreter, libraries, weights.
        workspace: Host bytes that calls add.
        device_reserved: Bytes of the weights on a device with memory of its own.
        device_workspace: Bytes that calls add there.
        device_free: Bytes there before the first call that are free or held by this process; None:
            the device is the host.
        seconds: Time of the first call of a full microbatch, with exporting and compiling.
    """

    reserved: int
    workspace: int
    device_reserved: int
    device_workspace: int
    device_free: int | None
    seconds: float


def calibrate(model: Model, plan: TilePlan) -> Footprint:
    """Call the model once on zeros, so that it allocates what it will hold.

    Raises:
        ConfigError: The call fails, or its output does not have the shape that the card says.
        BudgetExceeded: There is not even memory for one call.
    """
    try:
        with using_threads(plan.threads):
            return _measured(model, plan)
    except TiledsegError:
        raise
    except Exception as error:  # the libraries' errors share no base but Exception
        if out_of_memory(error):
            raise BudgetExceeded(
                f"{plan.microbatch} windows of {plan.window} a call: memory ran out in the first "
                "one; lower runtime.microbatch or tiling.window"
            ) from error
        raise ConfigError(
            f"model {model.card.name!r} cannot run on a window of {plan.window} in {model.runtime} "
            f"({' '.join(str(error).split())[:200]}): correct the window, the channels or the "
            f"multiple ({model.card.multiple}) of its card"
        ) from error


def _measured(model: Model, plan: TilePlan) -> Footprint:
    on_device = model.device.type == "cuda"
    if not on_device:
        kernels.load(model.card.schema.dtype, plan.target is not None)
        if plan.taper is Taper.NNUNET:
            half_kernels.load()
    reserved, free, held = machine.resident(), None, 0
    if on_device:
        torch.cuda.reset_peak_memory_stats(model.device)
        held = torch.cuda.memory_allocated(model.device)
        free = torch.cuda.mem_get_info(model.device)[0] + torch.cuda.memory_reserved(model.device)
    times: list[float] = []
    workspace = machine.growth(lambda: times.append(call_seconds(model, plan)))
    added = torch.cuda.max_memory_allocated(model.device) - held if on_device else 0
    return Footprint(reserved, workspace, held, added, free, times[0])


def call_seconds(model: Model, plan: TilePlan) -> float:
    """Return the time of a call of a full microbatch of zeros.

    Raises:
        ConfigError: The output does not have the shape that the card says.
    """
    shape = (plan.microbatch, len(model.card.channels), *plan.window)
    began = time.perf_counter()
    with torch.inference_mode():
        raw = model(torch.zeros(shape, device=model.device))
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
    seconds = time.perf_counter() - began
    channels = model.stacked * model.card.outputs
    found, wanted = tuple(raw.shape), (plan.microbatch, channels, *plan.window)
    if found != wanted:
        raise ConfigError(
            f"model {model.card.name!r} gave {found} for an input of {shape}, expected {wanted}: "
            f"its card does not fit its weights, or its multiple ({model.card.multiple}) is wrong"
        )
    return seconds
