"""What a model says of the spacing it was trained at, and the grid that follows for an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import ConfigError
from ..grid import Grid
from ._monai import monai_spaced
from ._scaling import Method, Scaling

Wish = Literal["auto", "nearest", "linear", "cubic", "area"]
ScoreMethod = Literal["nearest", "linear"]


@dataclass(frozen=True, slots=True)
class Resampling:
    """How an image is brought to the spacing a model was trained at, and its scores back.

    Args:
        image: How samples are made, for all axes or for each, in array order. ``auto``: ``area``
            where samples become larger, else ``linear``.
        scores: How scores are brought to the grid of the result, for all axes or for each.
            ``nearest`` along all is the nearest label.
        logits: Whether a model that is blended in logits has them brought there, and made scores
            afterwards.
        align: ``corners`` keeps the outer corners of the image (scikit-image, GDAL, nnU-Net),
            ``monai`` mostly the centre of its first sample (`monai_spaced`), with samples where
            torch finds them (`TorchAxis`).
        tolerance: Relative difference of spacing up to which an image is left as it is.
        anisotropy: Where one axis' spacing, of the image or else of the model, is more than so
            many times the least, it is resampled by ``across`` alone (nnU-Net: 3).
        across: How samples and scores are made along that axis.
        normalized: Whether the image is brought to model units before it is resampled.
        clip: Whether a spline stays between the least and the largest value of the image, or of
            a slice where slices are resampled alone (scikit-image, nnU-Net).
        extent: Samples of the model's grid, with the image in their middle: what lies outside of
            it was not measured, which is 0 in model units (FreeSurfer's and brainchop's conformed
            volumes: 256 everywhere). None: as many as the image has at the model's spacing.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    image: Wish | tuple[Wish, ...] = "auto"
    scores: ScoreMethod | tuple[ScoreMethod, ...] = "linear"
    logits: bool = False
    align: Literal["corners", "monai"] = "corners"
    tolerance: float = 0.05
    anisotropy: float | None = None
    across: tuple[Wish, ScoreMethod] = ("nearest", "nearest")
    normalized: bool = False
    clip: bool = False
    extent: tuple[int, ...] | None = None

    def given(self) -> dict[str, Any]:
        """Return the wishes that are not the default, by name, as plain values."""
        plain = Resampling()
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value != getattr(plain, name)
        }

    def problem(self, dims: int) -> str | None:
        """Return what does not fit an image of so many axes, or None."""
        for name, value in (("image", self.image), ("scores", self.scores)):
            if isinstance(value, tuple) and len(value) != dims:
                return f"resampling.{name}: expected one or {dims} words, found {len(value)}"
        if self.extent is not None and (
            len(self.extent) != dims or min(self.extent) < 1 or self.align == "monai"
        ):
            return (
                f"resampling.extent: expected {dims} positive numbers, and align corners, found "
                f"{self.extent} and {self.align}"
            )
        if not 0 <= self.tolerance < 1:
            return f"resampling.tolerance: expected 0 to 1, found {self.tolerance}"
        if self.anisotropy is not None and not self.anisotropy >= 1:
            return f"resampling.anisotropy: expected a number above 1, found {self.anisotropy}"
        return None

    def differs(self, found: Sequence[float], wanted: Sequence[float]) -> bool:
        """Whether an image's spacing is so different from the model's that it is resampled."""
        with np.errstate(over="ignore"):  # infinitely different
            return bool((np.abs(np.array(found) / wanted - 1) > self.tolerance).any())

    def respacing(
        self, grid: Grid, found: Sequence[float], wanted: Sequence[float]
    ) -> Respacing | None:
        """Return how an image is brought to a model's spacing, and its scores back.

        Args:
            grid: Of the image.
            found: Its spacing, array order.
            wanted: The model's, in the same unit.

        Returns:
            None where the image is left as it is.

        Raises:
            ConfigError: The image is larger than the model's grid.
        """
        shape = grid.shape
        if self.align == "monai":
            units = zip(grid.spacing, found, wanted, strict=True)
            spaced = monai_spaced(grid, tuple(own / a * b for own, a, b in units))
            if spaced is None:
                return None
            seen, scaling, back = spaced
        else:
            sizes = zip(shape, found, wanted, strict=True)
            seen = tuple(max(1, round(a / b * n)) for n, a, b in sizes)  # as nnU-Net, ties included
            scaling, back = Scaling.centred(shape, seen), Scaling.centred(seen, shape)
            if self.extent is not None:
                seen, scaling, back = _framed(self.extent, seen, scaling, back)
        if seen == shape and all(map(scaling.keeps, range(len(shape)))):
            return None
        alone = self._alone(found, wanted)
        image, scores = _each(self.image, len(shape)), _each(self.scores, len(shape))
        if alone is not None:
            image[alone], scores[alone] = self.across
        pairs = zip(image, scaling.scale, strict=True)
        auto: tuple[Method, Method] = ("linear", "area")
        methods = tuple(auto[s > 1] if m == "auto" else m for m, s in pairs)
        return Respacing(seen, scaling, back, methods, tuple(scores), alone)

    def _alone(self, found: Sequence[float], wanted: Sequence[float]) -> int | None:
        """Return the one axis whose samples are far apart beside the others', or None."""
        if self.anisotropy is None:
            return None
        for spacing in (np.array(found), np.array(wanted)):
            if spacing.max() / spacing.min() > self.anisotropy:
                (axes,) = np.nonzero(spacing == spacing.max())
                return int(axes[0]) if len(axes) == 1 else None
        return None


@dataclass(frozen=True, slots=True)
class Respacing:
    """How an image is brought to a model's spacing, and its scores back.

    Args:
        shape: Of the model's grid.
        scaling: From the model's grid to the image's.
        back: From the image's grid to the model's.
        image: How samples are made, per axis.
        scores: How scores are made, per axis.
        alone: The axis whose slices are resampled alone, or None.
    """

    shape: tuple[int, ...]
    scaling: Scaling
    back: Scaling
    image: tuple[Method, ...]
    scores: tuple[Method, ...]
    alone: int | None = None


def _framed(
    extent: tuple[int, ...], seen: tuple[int, ...], scaling: Scaling, back: Scaling
) -> tuple[tuple[int, ...], Scaling, Scaling]:
    """Return shape and scalings of a grid of an extent, in whose middle an image lies.

    Raises:
        ConfigError: The image is larger.
    """
    if any(n > most for n, most in zip(seen, extent, strict=True)):
        raise ConfigError(
            f"the image has {seen} samples at the model's spacing, and the model's grid only "
            f"{extent}: crop the image"
        )
    before = [(most - n) // 2 for n, most in zip(seen, extent, strict=True)]
    offset = tuple(-b * s for b, s in zip(before, scaling.scale, strict=True))
    return extent, Scaling(scaling.scale, offset), Scaling(back.scale, tuple(map(float, before)))


def _each(value: Any, dims: int) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value] * dims
