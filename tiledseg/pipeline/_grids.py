"""The grids of a run: the image's, the model's and the result's, and the way between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from ..config import RunConfig
from ..errors import ConfigError, GridMismatch
from ..grid import AxisMap, Grid
from ..io import (
    FilledMask,
    MarkedSource,
    NormalizedSource,
    OneHotSource,
    PreviousSource,
    ResampledSource,
    Source,
    StackedSource,
    axes_to,
    extremes,
    open_source,
    oriented,
)
from ..models import ModelCard
from ..normalize import Normalization
from ..resampling import Respacing, Scaling, Target, everywhere
from ._frame import Frame
from ._spacing import respacing_of, words_of

Border = Literal["repeat", "missing"]
#: Gives a normalisation fitted to an image.
Fit = Callable[[Source], Normalization]


@dataclass(frozen=True)
class Grids:
    """An image on the grids of a run, all in the model's orientation.

    Args:
        image: The image on its own grid.
        source: The image as the model sees it.
        shown: The image on the grid of the result.
        target: From the grid of the result to the model's, or None: it is the model's.
        grid: Grid of the result as it is written.
        axes: From the axes of the written result to the model's, or None where they agree.
        crop: What the model sees of the stored image; None: all.
        whole: Whether the result is written on the grid of the stored image.
        normalization: Fitted, from the image's samples to model units.
        normalized: Whether `source` is in model units already.
        told: How it was resampled, in words, or None.
    """

    image: Source
    source: Source
    shown: Source
    target: Target | None
    grid: Grid
    axes: AxisMap | None
    crop: Frame | None
    whole: bool
    normalization: Normalization
    normalized: bool
    told: str | None = None

    @property
    def lane(self) -> Normalization:
        """What is left to do to bring samples of `source` to model units."""
        return Normalization(()) if self.normalized else self.normalization

    @property
    def frame(self) -> Frame | None:
        """Where in the written result, along the model's axes, the computed one lies."""
        return self.crop if self.whole else None


def orient(source: Source, card: ModelCard) -> tuple[Source, AxisMap | None]:
    """Return an image along the axes that a model wants, and how it was turned, if it was."""
    return oriented(source, card.orientation, card.axes)


def place(
    config: RunConfig,
    card: ModelCard,
    opened: Source,
    fit: Fit,
    frame: Frame | None,
) -> Grids:
    """Return an image on the grids of a run.

    Args:
        config: The settings.
        card: The model's.
        opened: The image as it is stored.
        fit: Gives the normalisation, fitted to the image that it is applied to: as it is stored,
            or as it is resampled.
        frame: What the model sees of it; None: all.

    Raises:
        ConfigError: It cannot be resampled, or there is no such grid.
        GridMismatch: The grid of the result does not fit the image.
    """
    image, axes = orient(opened, card)
    image = image if frame is None else frame.source(image)
    way = respacing_of(config, card, image)
    early = _normalized_first(config, card, way)
    if early:
        normalization = fit(image)
        source = _respaced(_normalized(image, card, normalization), card, way)
    else:
        source = _respaced(image, card, way)
        normalization = fit(source)
    told = None if way is None else words_of(way, image.grid, source.grid)
    if card.previous is not None:
        before = _before(config, card, opened, frame)
        source = StackedSource([source, _stage(before, image, card.previous.labels, way)])
    grids = Grids(
        image=image,
        source=source,
        shown=source,
        target=None,
        grid=opened.grid,
        axes=axes,
        crop=frame,
        whole=True,
        normalization=normalization,
        normalized=early,
        told=told,
    )
    if config.output.grid == "model":
        return _on_the_models(grids)
    if config.output.grid != "source":
        return _on_anothers(grids, config.output.grid, card, way)
    return grids if way is None else _on_the_images(grids, card, way)


def _normalized_first(config: RunConfig, card: ModelCard, way: Respacing | None) -> bool:
    """Whether an image is brought to model units before it is resampled, masked or stacked."""
    resampled = way is not None and card.resampling.normalized
    if not (card.normalization.masked or card.previous is not None or resampled):
        return False
    limit = config.input.skip_below
    if limit is not None:
        raise ConfigError(
            f"input.skip_below {limit}: model {card.name!r} wants images in model units before "
            "they are resampled; leave it out, or say input.resample never"
        )
    return True


def _normalized(image: Source, card: ModelCard, normalization: Normalization) -> Source:
    """Return an image in model units."""
    masked = card.normalization.masked
    return NormalizedSource(image, normalization, FilledMask(image) if masked else None, masked)


def _respaced(image: Source, card: ModelCard, way: Respacing | None) -> Source:
    """Return an image at the model's spacing."""
    if way is None:
        return image
    limits = partial(extremes, image, way.alone) if card.resampling.clip else None
    border: Border = "repeat" if card.resampling.extent is None else "missing"
    return ResampledSource(image, way.shape, way.scaling, way.image, border, limits)


# ----------------------------------------------------------------- grid of the result


def _on_the_images(grids: Grids, card: ModelCard, way: Respacing) -> Grids:
    """Have the result of an image that is resampled on the image's own grid."""
    target = Target(
        grid=grids.image.grid,
        extent=way.shape,
        scaling=way.back,
        methods=way.scores,
        logits=card.resampling.logits,
    )
    return replace(grids, shown=grids.image, target=target)


def _on_the_models(grids: Grids) -> Grids:
    """Have the result on the model's grid, along the image's own axes."""
    seen, axes = grids.source.grid, grids.axes
    own = seen if axes is None else seen.turn(axes.inverse)
    return replace(grids, grid=own, whole=False)


def _on_anothers(grids: Grids, path: str, card: ModelCard, way: Respacing | None) -> Grids:
    """Have the result on the grid of a file.

    Raises:
        GridMismatch: It is turned against the image, or lies elsewhere.
    """
    grid, name = _grid_of(path, card), f"output.grid {path}"
    axes = axes_to(grid, card.orientation, card.axes)
    seen = grid if axes is None else grid.turn(axes)
    image, source = grids.image, grids.source
    back = Scaling.between(source.grid, seen, name)
    there = Scaling.between(image.grid, seen, name)
    _require_overlap(name, seen, there, image.grid)
    target = Target(
        grid=seen,
        extent=source.grid.shape,
        scaling=back,
        methods=everywhere("linear", seen.ndim) if way is None else way.scores,
        logits=card.resampling.logits,
    )
    picks = everywhere("nearest", seen.ndim)
    shown = ResampledSource(image, seen.shape, there, picks, border="missing")
    return replace(grids, shown=shown, target=target, grid=grid, axes=axes, whole=False)


def _before(config: RunConfig, card: ModelCard, opened: Source, frame: Frame | None) -> Source:
    """Return the class map of the stage before, where the image lies.

    Raises:
        ConfigError: There is none.
        GridMismatch: It does not lie on the image's grid.
    """
    path = config.input.previous
    if path is None:
        raise ConfigError(
            f"model {card.name!r} needs the class map of the stage before: give it with "
            "input.previous"
        )
    found = open_source(path, dims=card.dims)
    opened.grid.require_like(found.grid, path)
    turned, _ = orient(found, card)
    return turned if frame is None else frame.source(turned)


def _stage(before: Source, image: Source, labels: tuple[int, ...], way: Respacing | None) -> Source:
    """Return the class map of the stage before as channels, on the model's grid."""
    if way is None:
        return OneHotSource(before, labels)
    marked = MarkedSource(before, FilledMask(image))
    linear, nearest = (
        partial(ResampledSource, shape=way.shape, scaling=way.scaling, methods=methods)
        for methods in (way.scores, everywhere("nearest", image.grid.ndim))
    )
    return PreviousSource(marked, labels, linear, nearest)


def _grid_of(path: str, card: ModelCard) -> Grid:
    with open_source(path, dims=card.dims) as source:
        return source.grid


def _require_overlap(name: str, grid: Grid, scaling: Scaling, image: Grid) -> None:
    """Refuse a grid, from which ``scaling`` leads to the image's, with no sample within it."""
    for axis, extent in enumerate(image.shape):
        x = scaling.centres(axis, 0, grid.shape[axis])
        if not ((x >= -0.5) & (x <= extent - 0.5)).any():
            raise GridMismatch(
                f"{name} must overlap the image: found bounds {grid.bounds}, the "
                f"image has {image.bounds}; give a grid within it"
            )
