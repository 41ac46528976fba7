"""Steps that are known beforehand: the same numbers for every image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np


def _per_channel(values: tuple[float, ...], x: Any, xp: Any) -> Any:
    """Return one value per channel, shaped to go with ``x`` and where ``x`` is."""
    column = np.array(values, np.float32).reshape(-1, *(1,) * (x.ndim - 1))
    return xp.asarray(column, device=x.device)


@dataclass(frozen=True, slots=True)
class Linear:
    """``x * scale + offset``, one value for all channels or one per channel.

    Reflectance is made by such a step from what a product stores: Sentinel-2 L1C and L2A scale 1e-4
    and, since processing baseline 04.00 (25 January 2022), offset -0.1 (their users' handbook);
    Landsat Collection 2 Level 2 scale 2.75e-5, offset -0.2 (USGS, LSDS-1619).

    Args:
        scale: Factor.
        offset: Summand.
        nonzero: Whether samples that are 0 stay 0.
    """

    kind: ClassVar[str] = "linear"
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    nonzero: bool = False

    def __call__(self, x: Any, xp: Any = np) -> Any:
        """Return ``x`` (c, *spatial) transformed."""
        moved = x * _per_channel(self.scale, x, xp) + _per_channel(self.offset, x, xp)
        return xp.where(x != 0, moved, 0.0) if self.nonzero else moved


@dataclass(frozen=True, slots=True)
class Standard:
    """``(x - mean) / std``, one value for all channels or one per channel.

    As `Linear`, but for the last bits: those of tools that subtract and divide.
    """

    kind: ClassVar[str] = "standard"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __call__(self, x: Any, xp: Any = np) -> Any:
        """Return ``x`` (c, *spatial) transformed."""
        return (x - _per_channel(self.mean, x, xp)) / _per_channel(self.std, x, xp)


@dataclass(frozen=True, slots=True)
class Clip:
    """Limit to ``[low, high]``, one value for all channels or one per channel."""

    kind: ClassVar[str] = "clip"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (1.0,)

    def __call__(self, x: Any, xp: Any = np) -> Any:
        """Return ``x`` (c, *spatial) transformed."""
        return xp.clip(x, _per_channel(self.low, x, xp), _per_channel(self.high, x, xp))


@dataclass(frozen=True, slots=True)
class Nodata:
    """What one channel lacks where others were measured: ``value`` becomes ``fill``.

    One of each for all channels or one per channel. Where nothing was measured in any channel, the
    file's own nodata or mask says so, and the sample is 0 in model units whatever the steps.

    Args:
        value: Stands for "not measured", in the units of the chain so far.
        fill: What the model was trained to see there; the mean, say.
    """

    kind: ClassVar[str] = "nodata"
    value: tuple[float, ...] = (0.0,)
    fill: tuple[float, ...] = (0.0,)

    def __call__(self, x: Any, xp: Any = np) -> Any:
        """Return ``x`` (c, *spatial) transformed."""
        absent = x == _per_channel(self.value, x, xp)
        return xp.where(absent, _per_channel(self.fill, x, xp), x)


@dataclass(frozen=True, slots=True)
class Log:
    """``log(scale * x + 1)``; below ``-1 / scale`` the sample is taken as the smallest float."""

    kind: ClassVar[str] = "log"
    scale: float = 1.0

    def __call__(self, x: Any, xp: Any = np) -> Any:
        """Return ``x`` (c, *spatial) transformed."""
        tiny = float(np.finfo(np.float32).tiny)
        return xp.log(xp.clip(x * self.scale + 1.0, tiny, None))


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """``1 / (1 + exp(-(gain * x + offset)))``."""

    kind: ClassVar[str] = "sigmoid"
    gain: float = 1.0
    offset: float = 0.0

    def __call__(self, x: Any, xp: Any = np) -> Any:
        """Return ``x`` (c, *spatial) transformed."""
        slope = x * -self.gain - self.offset
        with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf is right
            return 1.0 / (1.0 + xp.exp(slope))


Step = Linear | Standard | Clip | Nodata | Log | Sigmoid
