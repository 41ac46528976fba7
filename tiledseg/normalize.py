"""Intensities to model units: a chain of small steps, the same for the whole image.

Statistics are never taken per tile. A step that needs the scene's statistics (`SceneRange`,
`SceneScore`) is *fitted* once to a stated sample of the whole image, or to all of it where it is to
be exact, and replaced by a plain `Linear` or `Clip`; `WholeImage` looks at every sample as nnU-Net
does, and becomes a `Standard`. Only fitted chains reach the engine and the plan.

Every step works on float32 samples, channels first, one sample at a time, so a sample's value does
not depend on what was read together with it. Steps take the module that computes, numpy unless the
samples lie on a device: `torch` has functions of the same names.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError
from .moments import Moments

Floats = NDArray[np.float32]


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


@dataclass(frozen=True, slots=True)
class SceneRange:
    """The scene's ``[low, high]`` percentiles become 0 and 1; values are clipped.

    Args:
        low: Percentile that becomes 0; 0 is the minimum.
        high: Percentile that becomes 1; 100 is the maximum.
        together: Whether all channels share one range, rather than having one each.
        exact: Whether every sample counts, not those of a decimated image only; for minimum and
            maximum.
    """

    kind: ClassVar[str] = "scene_range"
    low: float = 0.0
    high: float = 100.0
    together: bool = False
    exact: bool = False

    def moments(self, samples: NDArray[Any]) -> Moments:
        """Return what is to be known of ``samples``, (c, n)."""
        return Moments.of(samples)

    def fit(self, samples: NDArray[Any]) -> tuple[Step, ...]:
        """Return the fixed steps for valid ``samples``, (c, n)."""
        if (self.low, self.high) == (0, 100):
            return self.fit_moments(self.moments(samples))
        values = samples.reshape(1, -1) if self.together else samples
        ends = np.percentile(values.astype(np.float64), [self.low, self.high], axis=1)
        return _between(ends[0], ends[1])

    def fit_moments(self, moments: Moments) -> tuple[Step, ...]:
        """Return the fixed steps for samples of these moments, from minimum to maximum."""
        found = moments.together() if self.together else moments
        return _between(found.low, found.high)


@dataclass(frozen=True, slots=True)
class SceneScore:
    """The scene's mean becomes 0 and its standard deviation 1.

    Args:
        nonzero: Whether samples that are 0 do not count, and stay 0.
        together: Whether all channels share one mean and deviation.
        exact: Whether every sample counts, not those of a decimated image only.
    """

    kind: ClassVar[str] = "scene_score"
    nonzero: bool = False
    together: bool = False
    exact: bool = False

    def moments(self, samples: NDArray[Any]) -> Moments:
        """Return what is to be known of ``samples``, (c, n)."""
        return Moments.of(samples, self.nonzero)

    def fit(self, samples: NDArray[Any]) -> tuple[Step, ...]:
        """Return the fixed steps for valid ``samples``, (c, n)."""
        return self.fit_moments(self.moments(samples))

    def fit_moments(self, moments: Moments) -> tuple[Step, ...]:
        """Return the fixed steps for samples of these moments."""
        found = moments.together() if self.together else moments
        std = np.sqrt(found.spread / np.maximum(found.count, 1))
        scale = 1 / np.where(std > _EPSILON * np.abs(found.mean), std, 1.0)
        return (Linear(_floats(scale), _floats(-found.mean * scale), self.nonzero),)


def _between(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[Step, ...]:
    """Return the steps by which ``low`` becomes 0 and ``high`` 1."""
    span = np.where(high > low, high - low, 1.0)
    return (Linear(_floats(1 / span), _floats(-low / span)), Clip((0.0,), (1.0,)))


#: Share of a mean below which a deviation is what rounding left of 0.
_EPSILON = 1e-12

How = Literal["score", "score_nonzero", "range", "keep"]


@dataclass(frozen=True, slots=True)
class WholeImage:
    """Per channel, by every sample of the image (or of the box it is cropped to).

    ``score``: the mean becomes 0 and the standard deviation 1. ``score_nonzero``: those of samples
    that are not 0 in all channels, or lie in a hole among such; the others become 0. ``range``: the
    minimum becomes 0 and the maximum 1. ``keep``: the channel is left as it is. The numbers are
    nnU-Net's to the last bit: see `tiledseg.io.fit_whole`.
    """

    kind: ClassVar[str] = "whole_image"
    how: tuple[How, ...] = ("score",)


Step = Linear | Standard | Clip | Nodata | Log | Sigmoid
SceneStep = SceneRange | SceneScore
AnyStep = Step | SceneStep | WholeImage
_STEPS: dict[str, type[AnyStep]] = {
    s.kind: s
    for s in (Linear, Standard, Clip, Nodata, Log, Sigmoid, SceneRange, SceneScore, WholeImage)
}


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


@dataclass(frozen=True, slots=True)
class Normalization:
    """A chain of steps applied in order.

    Args:
        steps: The steps; empty means the model takes raw values.
    """

    steps: tuple[AnyStep, ...] = ()

    @property
    def fitted(self) -> bool:
        """Whether no step waits for statistics."""
        return not any(isinstance(s, SceneStep | WholeImage) for s in self.steps)

    @property
    def whole(self) -> WholeImage | None:
        """The step that waits for every sample of the image, or None."""
        return next((s for s in self.steps if isinstance(s, WholeImage)), None)

    @property
    def masked(self) -> tuple[int, ...]:
        """Channels that are 0 outside of the mask of what is not 0."""
        how = () if self.whole is None else self.whole.how
        return tuple(channel for channel, name in enumerate(how) if name == "score_nonzero")

    @property
    def exact(self) -> bool:
        """Whether some step waits for the statistics of every sample."""
        return any(isinstance(s, SceneStep) and s.exact for s in self.steps)

    def fit(self, samples: NDArray[Any]) -> Normalization:
        """Replace scene steps by fixed ones.

        Args:
            samples: Valid, finite samples of the whole image, (c, n). With n = 0 (nothing is
                valid) scene steps become the identity.
        """
        fixed: list[AnyStep] = []
        values = samples.astype(np.float32)
        for step in self.steps:
            new: tuple[Step, ...] = (Linear(),)
            if isinstance(step, WholeImage):
                raise ConfigError("normalisation by the whole image cannot be fitted to a sample")
            if not isinstance(step, SceneStep):
                new = (step,)
            elif values.shape[1]:
                new = step.fit(values)
            for s in new:
                values = s(values)
            fixed.extend(new)
        return Normalization(tuple(fixed))

    def __call__(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> Floats:
        """Return ``values`` (c, *spatial) in model units, float32, 0 where not ``valid``."""
        with np.errstate(over="ignore"):  # a nodata of -1.8e308 is -inf here and 0 on the next line
            x = np.ascontiguousarray(values, dtype=np.float32)
        normalized: Floats = self.apply(x, None if valid.all() else valid, np)
        return normalized

    def apply(self, x: Any, valid: Any | None, xp: Any) -> Any:
        """Return float32 ``x`` (c, *spatial) in model units, 0 where not ``valid``.

        Args:
            x: Samples, wherever ``xp`` computes.
            valid: Where they were measured, (*spatial), or None: everywhere.
            xp: ``numpy`` or ``torch``.

        Raises:
            ConfigError: A step still waits for the scene's statistics.
        """
        if valid is not None:
            x = xp.where(valid, x, 0.0)
        for step in self.steps:
            if isinstance(step, SceneStep | WholeImage):
                raise ConfigError("a scene-wide normalisation must be fitted before it is applied")
            x = step(x, xp)
        return x if valid is None else xp.where(valid, x, 0.0)

    def to_list(self) -> list[dict[str, Any]]:
        """Return plain values that `from_list` turns back into this chain."""
        return [{"kind": s.kind, **asdict(s)} for s in self.steps]

    @classmethod
    def from_list(cls, values: list[dict[str, Any]]) -> Normalization:
        """Return the chain `to_list` described.

        Raises:
            ConfigError: An unknown step or an unknown field.
        """
        steps = []
        for entry in values:
            fields: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()
            }
            kind = fields.pop("kind", None)
            if kind not in _STEPS:
                raise ConfigError(f"unknown normalisation {kind!r}; known: {', '.join(_STEPS)}")
            try:
                steps.append(_STEPS[kind](**fields))
            except TypeError as error:
                raise ConfigError(f"normalisation {kind!r}: {error}") from None
        return cls(tuple(steps))


def measured(values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a sample can be used: valid in the file and a finite float32 in every channel.

    NaN and infinity are never measurements, whether the file declares them as nodata or not; left
    in, one of them would spread over a whole receptive field. A float64 too large for float32
    (-1.8e308, GDAL's usual filler) is infinite to a model.
    """
    if values.dtype.kind != "f":
        return valid
    with np.errstate(over="ignore"):
        seen = values.astype(np.float32, copy=False)
    finite: NDArray[np.bool_] = valid & np.isfinite(seen).all(axis=0)
    return finite
