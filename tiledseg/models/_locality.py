"""How far a network looks: its multiple, its receptive radius, and what makes it global.

Found by trying, not by reading layers, so it holds for every runtime: what is far away is replaced,
and the output says how far the change reaches. It reaches a seam the same way.

::

    input    changed | . . . . . . kept . . . . . . | changed
    output   ########|####### . . . . . . . . #######|########
                      <radius>                <radius>
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Literal

import torch
from torch.nn.functional import interpolate

from ..errors import ConfigError, TiledsegError
from ._base import Model
from ._layers import MEAN, SPREAD, global_layers
from ._scores import activate

#: Multiples that are tried besides the card's.
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
#: Longest input along the measured axis, and most samples across it, by number of axes.
_LONGEST, _ACROSS = {2: 1024, 3: 256}, {2: 128, 3: 64}
_REFUSED = (RuntimeError, ValueError, IndexError, TiledsegError)


@dataclass(frozen=True, slots=True)
class Reach:
    """What an output sample depends on.

    Args:
        multiple: Input extents, and window starts, must be multiples of this.
        locality: ``local`` where changes further away than `radius` change no score by more than
            `tolerance`; ``global`` where they do however far away they are, as far as was tried.
        radius: In samples, along the axis where it is largest; 0 where global.
        tolerance: Change of a score that counts.
        global_layers: Name and class of the layers that alone carry a change over all their input.
        batch_invariant: Whether a window's output has the same bits whatever is beside it in a
            call; where not, results depend on the tiling.
        microbatch_change: Largest change of a score by another number of windows in a call.
    """

    multiple: int
    locality: Literal["local", "global"]
    radius: int
    tolerance: float
    global_layers: tuple[tuple[str, str], ...]
    batch_invariant: bool
    microbatch_change: float


def measure_reach(model: Model, tolerance: float = 1e-3) -> Reach:
    """Find out what an output sample of a model depends on.

    Inputs of up to 1024 (2-D) or 256 (3-D) samples along an axis are tried; for a model of fixed
    extent, its window. What reaches further counts as global.

    Args:
        model: The model.
        tolerance: Change of a score, between 0 and 1, that counts.

    Raises:
        RuntimeError: The model fails on its own window.
        ConfigError: It gives NaN or infinity.
    """
    lab = _Lab(model)
    radius = lab.reach(1, tolerance)
    multiple = lab.multiple(radius, tolerance)
    if radius is not None:
        radius = lab.reach(multiple, tolerance)
    return Reach(
        multiple=multiple,
        locality="global" if radius is None else "local",
        radius=radius or 0,
        tolerance=tolerance,
        global_layers=global_layers(model) if radius is None else (),
        batch_invariant=lab.batch_invariant(),
        microbatch_change=lab.microbatch_change(),
    )


def draw_noise(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Return noise (n, c, *window) with coarse and fine structure, in model units."""
    coarse = torch.randn((*shape[:2], *(-(-n // 8) for n in shape[2:])), generator=generator)
    fine = torch.randn(shape, generator=generator)
    return interpolate(coarse, shape[2:]) + 0.3 * fine


class _Lab:
    """Runs a model on noise of chosen extents.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self._model, self._card = model, model.card
        self._unit = lcm(_MULTIPLES[-1], model.card.multiple)
        self._generator = torch.Generator().manual_seed(0)

    def reach(self, phases: int, tolerance: float) -> int | None:
        """Return how far changes reach along any axis, or None: as far as was tried.

        The reach depends on where a change starts between the steps of a pooling: as many starts
        are tried as there are ``phases``.
        """
        reaches = [self._along(axis, phases, tolerance) for axis in range(self._card.dims)]
        known = [reach for reach in reaches if reach is not None]
        return max(known) if len(known) == len(reaches) else None

    def _along(self, axis: int, phases: int, tolerance: float) -> int | None:
        """Return how far changes reach along an axis, on the shortest input that shows it."""
        for shape in self._shapes(axis):
            end = shape[axis] // 8
            kept = shape[axis] - end - max(end, phases)  # the last start still leaves an end
            if kept <= 0:
                continue
            reaches: list[int] = []
            for low in range(end, end + phases):
                reach = self._reach(axis, shape, (low, low + kept), tolerance)
                if reach is None:
                    break
                reaches.append(reach)
            else:
                return max(reaches)
        return None

    def _shapes(self, axis: int) -> list[tuple[int, ...]]:
        """Return input extents, growing along an axis."""
        card, unit = self._card, self._unit
        if not card.any_size:
            return [card.window]
        across = max(unit, _ACROSS[card.dims] // unit * unit)
        lengths = [2 * unit]
        while lengths[-1] < _LONGEST[card.dims]:
            lengths.append(2 * lengths[-1])
        return [tuple(n if a == axis else across for a in range(card.dims)) for n in lengths]

    def _reach(
        self, axis: int, shape: tuple[int, ...], kept: tuple[int, int], tolerance: float
    ) -> int | None:
        """Return how far a change of all but ``kept`` reaches inwards; None: to the middle."""
        low, high = kept
        middle = (low + high) // 2
        x = self._draw(shape)
        other = MEAN + SPREAD * self._draw(shape)
        same = x.narrow(2 + axis, low, high - low)
        other.narrow(2 + axis, low, high - low).copy_(same)
        changed = self._profile(axis, self._scores(x), self._scores(other)) > tolerance
        before = torch.nonzero(changed[low:middle]).flatten()
        after = torch.nonzero(changed[middle:high]).flatten()
        left = int(before[-1]) + 1 if len(before) else 0
        right = high - middle - int(after[0]) if len(after) else 0
        # The middle must stay clear, or what ended just there may go on.
        if max(left, right) > (high - low) * 3 // 8:
            return None
        return max(left, right)

    def multiple(self, radius: int | None, tolerance: float) -> int:
        """Return the smallest step by which an input may grow, and be moved.

        Moving an input must move the output; that cannot be seen in a global model. The card's
        multiple is the least: weak layers far down may hide that they need it.
        """
        card = self._card
        if not card.any_size:
            return card.multiple
        for multiple in sorted({*_MULTIPLES, card.multiple}):
            if multiple < card.multiple or not self._accepts(multiple):
                continue
            if radius is None or self._moves(multiple, radius, tolerance):
                return multiple
        return card.multiple

    def _accepts(self, multiple: int) -> bool:
        """Whether extents that are odd multiples give an output of the same extents."""
        extent = (self._unit // multiple + 1) * multiple
        if extent // multiple % 2 == 0:
            extent += multiple
        shape = (extent,) * self._card.dims
        try:
            return self._scores(self._draw(shape)).shape[2:] == shape
        except _REFUSED:
            return False

    def _moves(self, multiple: int, radius: int, tolerance: float) -> bool:
        """Whether an input moved by a multiple gives the output moved by it, along every axis."""
        for axis in range(self._card.dims):
            needed = 2 * radius + 3 * multiple + 1
            long = -(-needed // self._unit) * self._unit
            across = self._unit
            shape = tuple(long if a == axis else across for a in range(self._card.dims))
            wide = tuple(n + multiple * (a == axis) for a, n in enumerate(shape))
            x = self._draw(wide)
            still = self._scores(x.narrow(2 + axis, 0, long))
            moved = self._scores(x.narrow(2 + axis, multiple, long))
            inner = long - 2 * radius - multiple
            profile = self._profile(
                axis,
                still.narrow(2 + axis, radius + multiple, inner),
                moved.narrow(2 + axis, radius, inner),
            )
            if bool((profile > tolerance).any()):
                return False
        return True

    def batch_invariant(self) -> bool:
        """Whether a window has the same bits whatever is beside it."""
        first, *others = (self._draw(self._card.window) for _ in range(4))
        found = [self._raw(torch.cat([first, other])) for other in others]
        return all(torch.equal(found[0][0], pair[0]) for pair in found)

    def microbatch_change(self) -> float:
        """Return the largest change of a window's scores by others beside it."""
        windows = torch.cat([self._draw(self._card.window) for _ in range(4)])
        alone, *others = (self._scores(windows[:count]) for count in (1, 2, 4))
        return max(float((alone - other).abs().max()) for other in others)

    def _draw(self, shape: tuple[int, ...]) -> torch.Tensor:
        return draw_noise((1, len(self._card.channels), *shape), self._generator)

    def _raw(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self._model(x.to(self._model.device)).cpu().clone()

    def _scores(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores (1, k, *s) of the first window."""
        scores = activate(self._raw(x.contiguous())[0], self._card.activation)[None]
        if not scores.isfinite().all():
            raise ConfigError(
                f"model {self._card.name!r} gives NaN or infinity for noise, so nothing can be "
                "measured: say in its card what its multiple, locality and margin are"
            )
        return scores

    def _profile(self, axis: int, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the largest difference at every index along an axis."""
        change = (a - b).abs()
        return change.amax([d for d in range(change.ndim) if d != 2 + axis])
