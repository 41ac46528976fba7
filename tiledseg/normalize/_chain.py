"""A chain of steps, and which samples it is for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ._scene import SceneRange, SceneScore, SceneStep, WholeImage
from ._steps import Clip, Linear, Log, Nodata, Sigmoid, Standard, Step

AnyStep = Step | SceneStep | WholeImage
_STEPS: dict[str, type[AnyStep]] = {
    s.kind: s
    for s in (Linear, Standard, Clip, Nodata, Log, Sigmoid, SceneRange, SceneScore, WholeImage)
}
Floats = NDArray[np.float32]


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
            if not isinstance(kind, str) or kind not in _STEPS:
                raise ConfigError(f"unknown normalisation {kind!r:.80}; known: {', '.join(_STEPS)}")
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
