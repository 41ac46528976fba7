"""The network, window and batch that fit memory and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ..budget import format_bytes
from ..errors import BudgetExceeded
from ._fingerprint import Fingerprint
from ._topology import Topology, topology

#: Seconds of a training step per patch of an architecture, by window, channels and classes.
Speed = Callable[[Mapping[str, Any], tuple[int, ...], int, int], float]

#: Largest extent of a window to start from, by axes: nnU-Net starts from 2048 and 256, and shrinks
#: them to what an accelerator of 8 GB holds, about 512 and 128.
_LARGEST = {2: 512, 3: 128}
#: Channels of the finest stage, in the order of preference; 32 is nnU-Net's.
_WIDTHS, _NARROW = (32, 24, 16), (12, 8)
#: Width at which speed is measured.
_MEASURED = 16
#: Samples of a batch that gradients are steady with.
_BATCH_SAMPLES = 2**18
#: Least batch, by axes: nnU-Net's, and what a norm of the batch needs; and the largest.
_LEAST, _LARGEST_BATCH = {2: 4, 3: 2}, 16
#: Largest share of a dataset's samples in a batch (nnU-Net).
_BATCH_SHARE = 0.05
#: Steps a training needs to get somewhere, and those after which nnU-Net ends.
WANTED, MOST = 1000, 250_000
#: Share of the time that steps can have: the rest is reading, augmentation and validation.
STEPPING = 0.7
#: Bytes of the process itself, and by how much what is kept for the way back was underestimated at
#: most (measured: 0.8 to 1.3).
_PROCESS, _MARGIN = 700e6, 1.3


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided.

    Args:
        shape: The network without its width.
        width: Channels of its finest stage.
        norm: Its normalisation.
        batch: Patches per step.
        steps: That fit into the time.
        cache: Bytes for decoded images.
        memory: Bytes the training is expected to take.
        seconds: Per step, as measured here at another width.
    """

    shape: Topology
    width: int
    norm: str
    batch: int
    steps: int
    cache: float
    memory: float
    seconds: float

    @property
    def architecture(self) -> dict[str, Any]:
        """The network as a card names it."""
        return self.shape.architecture(self.width, self.norm)


def decide(print_: Fingerprint, memory: float, minutes: float, speed: Speed) -> Decision:
    """Choose window, width and batch.

    Args:
        print_: What the dataset is like.
        memory: Bytes the training may take.
        minutes: It may take.
        speed: Measures an architecture on this machine.

    Raises:
        BudgetExceeded: Not even the smallest network fits into the memory.
    """
    first = _window(print_, 1.0)
    norm = "batch" if print_.dims == 2 else "instance"
    shape = topology(first, print_.relative)
    taken = speed(
        shape.architecture(_MEASURED, norm), shape.window, print_.channels, print_.classes
    )
    rate = shape.cost(_MEASURED, print_.channels, print_.classes).products / max(taken, 1e-9)
    half = topology(_window(print_, 0.5), print_.relative)
    choices = [
        _decision(print_, one, width, (memory, minutes, rate), norm)
        for widths in (_WIDTHS, _NARROW)
        for one in (shape, half)
        for width in widths
    ]
    fitting = [choice for choice in choices if choice.memory <= memory]
    if not fitting:
        needed = min(choice.memory for choice in choices)
        least = " x ".join(map(str, half.window))
        raise BudgetExceeded(
            f"memory {format_bytes(memory)}: the smallest network needs "
            f"{format_bytes(needed + 5e7)} for a batch of {choices[-1].batch} patches of {least}; "
            "allow that much"
        )
    enough = [choice for choice in fitting if choice.steps >= WANTED]
    return enough[0] if enough else max(fitting, key=lambda choice: choice.steps)


def _window(print_: Fingerprint, scale: float) -> tuple[int, ...]:
    """Return the window: of one real extent along all axes, no larger than typical images.

    nnU-Net's rule: inversely as the spacing, of a fixed number of samples, at most the median
    extent.
    """
    n = print_.dims
    mean = prod(print_.relative) ** (1 / n)
    wanted = (_LARGEST[n] * scale * mean / s for s in print_.relative)
    return tuple(max(1, min(round(w), m)) for w, m in zip(wanted, print_.extent, strict=True))


def _decision(
    print_: Fingerprint,
    shape: Topology,
    width: int,
    limits: tuple[float, float, float],
    norm: str,
) -> Decision:
    """Return what a network would take; of a batch as many patches as fit."""
    memory, minutes, rate = limits
    cost, samples = shape.cost(width, print_.channels, print_.classes), prod(shape.window)
    cache = min(1e9, memory / 4)
    fixed = _PROCESS + cache + cost.weights
    room = int((memory - fixed) / (_MARGIN * cost.kept))
    share = int(_BATCH_SHARE * print_.samples / samples)
    wanted = min(round(_BATCH_SAMPLES / samples), room, share, _LARGEST_BATCH)
    batch = max(_LEAST[print_.dims], wanted)
    seconds = batch * cost.products / rate
    steps = int(min(MOST, STEPPING * 60 * minutes / seconds))
    needed = fixed + _MARGIN * cost.kept * batch
    return Decision(shape, width, norm, batch, max(1, steps), cache, needed, seconds)
