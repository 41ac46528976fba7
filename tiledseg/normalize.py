"""Intensities to model units: a chain of small steps, the same for the whole image.

Statistics are never taken per tile. A step that needs the scene's statistics (`SceneRange`,
`SceneScore`) is *fitted* once to a stated sample of the whole image and replaced by a plain
`Affine` or `Clip`; only fitted chains reach the engine and the plan.

Every step works on float32 samples, channels first, one sample at a time, so a sample's value does
not depend on what was read together with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

Floats = NDArray[np.float32]


def _per_channel(values: tuple[float, ...], ndim: int) -> Floats:
    return np.array(values, np.float32).reshape(-1, *(1,) * (ndim - 1))


@dataclass(frozen=True, slots=True)
class Affine:
    """``x * scale + offset``, one value for all channels or one per channel."""

    kind: ClassVar[str] = "affine"
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)

    def __call__(self, x: Floats) -> Floats:
        """Return ``x`` (c, *spatial) transformed."""
        return x * _per_channel(self.scale, x.ndim) + _per_channel(self.offset, x.ndim)


@dataclass(frozen=True, slots=True)
class Clip:
    """Limit to ``[low, high]``, one value for all channels or one per channel."""

    kind: ClassVar[str] = "clip"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (1.0,)

    def __call__(self, x: Floats) -> Floats:
        """Return ``x`` (c, *spatial) transformed."""
        limited: Floats = np.clip(
            x, _per_channel(self.low, x.ndim), _per_channel(self.high, x.ndim)
        )
        return limited


@dataclass(frozen=True, slots=True)
class Log:
    """``log(scale * x + 1)``; below ``-1 / scale`` the sample is taken as the smallest float."""

    kind: ClassVar[str] = "log"
    scale: float = 1.0

    def __call__(self, x: Floats) -> Floats:
        """Return ``x`` (c, *spatial) transformed."""
        tiny = np.finfo(np.float32).tiny
        logs: Floats = np.log(np.maximum(x * np.float32(self.scale) + np.float32(1), tiny))
        return logs


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """``1 / (1 + exp(-(gain * x + offset)))``."""

    kind: ClassVar[str] = "sigmoid"
    gain: float = 1.0
    offset: float = 0.0

    def __call__(self, x: Floats) -> Floats:
        """Return ``x`` (c, *spatial) transformed."""
        slope = x * np.float32(-self.gain) - np.float32(self.offset)
        with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf is right
            squashed: Floats = np.float32(1) / (np.float32(1) + np.exp(slope))
        return squashed


@dataclass(frozen=True, slots=True)
class SceneRange:
    """The scene's ``[low, high]`` percentiles become 0 and 1, per channel; values are clipped.

    Percentiles 0 and 100 are the minimum and the maximum.
    """

    kind: ClassVar[str] = "scene_range"
    low: float = 0.0
    high: float = 100.0

    def fit(self, samples: NDArray[Any]) -> tuple[Step, ...]:
        """Return the fixed steps for valid ``samples``, (c, n)."""
        ends = np.percentile(samples.astype(np.float64), [self.low, self.high], axis=1)
        span = np.where(ends[1] > ends[0], ends[1] - ends[0], 1.0)
        return (
            Affine(_floats(1 / span), _floats(-ends[0] / span)),
            Clip((0.0,), (1.0,)),
        )


@dataclass(frozen=True, slots=True)
class SceneScore:
    """The scene's mean becomes 0 and its standard deviation 1, per channel."""

    kind: ClassVar[str] = "scene_score"

    def fit(self, samples: NDArray[Any]) -> tuple[Step, ...]:
        """Return the fixed steps for valid ``samples``, (c, n)."""
        mean, std = samples.mean(axis=1, dtype=np.float64), samples.std(axis=1, dtype=np.float64)
        scale = 1 / np.where(std > 0, std, 1.0)
        return (Affine(_floats(scale), _floats(-mean * scale)),)


Step = Affine | Clip | Log | Sigmoid
SceneStep = SceneRange | SceneScore
_STEPS: dict[str, type[Step] | type[SceneStep]] = {
    s.kind: s for s in (Affine, Clip, Log, Sigmoid, SceneRange, SceneScore)
}


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


@dataclass(frozen=True, slots=True)
class Normalization:
    """A chain of steps applied in order.

    Args:
        steps: The steps; empty means the model takes raw values.
    """

    steps: tuple[Step | SceneStep, ...] = ()

    @property
    def fitted(self) -> bool:
        """Whether no step waits for the scene's statistics."""
        return not any(isinstance(s, SceneStep) for s in self.steps)

    def fit(self, samples: NDArray[Any]) -> Normalization:
        """Replace scene steps by fixed ones.

        Args:
            samples: Valid, finite samples of the whole image, (c, n). With n = 0 (nothing is
                valid) scene steps become the identity.
        """
        fixed: list[Step | SceneStep] = []
        values = samples.astype(np.float32)
        for step in self.steps:
            new: tuple[Step, ...] = (Affine(),)
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
        if not valid.all():
            x = np.where(valid, x, np.float32(0))
        for step in self.steps:
            if isinstance(step, SceneStep):
                raise ConfigError("a scene-wide normalisation must be fitted before it is applied")
            x = step(x)
        return x if valid.all() else np.where(valid, x, np.float32(0))

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
