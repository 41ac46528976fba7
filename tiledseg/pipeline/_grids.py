"""The grids of a run: the image's, the model's and the result's, and the way between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..config import RunConfig
from ..errors import ConfigError, GridMismatch
from ..grid import AxisMap, Grid, SpaceKind
from ..io import (
    FilledMask,
    MarkedSource,
    NormalizedSource,
    OneHotSource,
    OrientedSource,
    PreviousSource,
    ResampledSource,
    Source,
    StackedSource,
    extremes,
    open_source,
)
from ..models import ModelCard
from ..normalize import Normalization
from ..resampling import Method, Scaling, Target, everywhere
from ..spacing import Fit, spacing_of
from ._frame import Frame

Border = Literal["repeat", "missing"]
#: Factor between two spacings from which on one of them is more likely a slip.
_UNLIKELY = 16
#: Samples along an axis beyond which a grid that is made is a slip of the spacing.
_LARGEST = 2**24


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
        lane: What is left to do to bring samples to model units.
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
    lane: Normalization
    told: str | None = None

    @property
    def frame(self) -> Frame | None:
        """Where in the written result, along the model's axes, the computed one lies."""
        return self.crop if self.whole else None


def orient(source: Source, card: ModelCard) -> tuple[Source, AxisMap | None]:
    """Return an image along the axes that a model wants, and how it was turned, if it was."""
    axes = _axes(source.grid, card)
    return (source, None) if axes is None else (OrientedSource(source, axes), axes)


def _axes(grid: Grid, card: ModelCard) -> AxisMap | None:
    """Return how a grid's axes lead to those that a model wants, or None where they agree."""
    plain = axes = AxisMap(tuple(range(grid.ndim)), (False,) * grid.ndim)
    if card.orientation is not None and grid.orientation not in (None, card.orientation):
        axes = grid.reorient(card.orientation)[1]
    if card.axes is not None:
        order = tuple(axes.order[i] for i in card.axes)
        axes = AxisMap(order, tuple(axes.flips[i] for i in card.axes))
    return None if axes == plain else axes


def place(
    config: RunConfig,
    card: ModelCard,
    opened: Source,
    normalization: Normalization,
    frame: Frame | None,
) -> Grids:
    """Return an image on the grids of a run.

    Args:
        config: The settings.
        card: The model's.
        opened: The image as it is stored.
        normalization: Fitted to the image.
        frame: What the model sees of it; None: all.

    Raises:
        ConfigError: It cannot be resampled, or there is no such grid.
        GridMismatch: The grid of the result does not fit the image.
    """
    image, axes = orient(opened, card)
    image = image if frame is None else frame.source(image)
    fit = _fit(config, card, image)
    source, lane, told = image, normalization, None
    scores = everywhere("linear", image.grid.ndim)
    masked, staged = card.normalization.masked, card.previous is not None
    if masked or staged or (fit is not None and card.resampling.normalized):
        _require_no_air(config, card)
        mask = FilledMask(image) if masked else None
        source = NormalizedSource(image, normalization, mask, masked)
        lane = Normalization(())
    if fit is not None:
        limits = partial(extremes, source, fit.alone) if card.resampling.clip else None
        border: Border = "repeat" if card.resampling.extent is None else "missing"
        source = ResampledSource(source, fit.shape, fit.scaling, fit.image, border, limits)
        scores, told = fit.scores, _told(fit, image.grid, source.grid)
    if card.previous is not None:
        before = _before(config, card, opened, frame)
        source = StackedSource([source, _stage(before, image, card.previous.labels, fit)])
    wanted = config.output.grid
    logits = card.resampling.logits
    if wanted == "source" and fit is not None:
        target = Target(image.grid, fit.shape, fit.back, scores, logits)
        return Grids(image, source, image, target, opened.grid, axes, frame, True, lane, told)
    if wanted in ("source", "model"):
        if wanted == "source":
            return Grids(image, source, source, None, opened.grid, axes, frame, True, lane, told)
        own, turned = _unturned(source.grid, axes)
        return Grids(image, source, source, None, own, turned, frame, False, lane, told)
    grid = _grid_of(wanted, card)
    seen, turned = _turned(grid, card)
    back = Scaling.between(source.grid, seen, f"output.grid {wanted}")
    _require_overlap(wanted, seen, image.grid)
    there = Scaling.between(image.grid, seen, f"output.grid {wanted}")
    picks = everywhere("nearest", seen.ndim)
    shown = ResampledSource(image, seen.shape, there, picks, border="missing")
    target = Target(seen, source.grid.shape, back, scores, logits)
    return Grids(image, source, shown, target, grid, turned, frame, False, lane, told)


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


def _stage(before: Source, image: Source, labels: tuple[int, ...], fit: Fit | None) -> Source:
    """Return the class map of the stage before as channels, on the model's grid."""
    if fit is None:
        return OneHotSource(before, labels)
    marked = MarkedSource(before, FilledMask(image))
    ways = (fit.scores, everywhere("nearest", image.grid.ndim))
    linear, nearest = (
        partial(ResampledSource, shape=fit.shape, scaling=fit.scaling, methods=methods)
        for methods in ways
    )
    return PreviousSource(marked, labels, linear, nearest)


def _require_no_air(config: RunConfig, card: ModelCard) -> None:
    """Refuse a limit of intensity where intensities are gone before the model looks."""
    limit = config.input.skip_below
    if limit is not None:
        raise ConfigError(
            f"input.skip_below {limit}: model {card.name!r} wants images in model units before "
            "they are resampled; leave it out, or say input.resample never"
        )


def _fit(config: RunConfig, card: ModelCard, image: Source) -> Fit | None:
    """Return how an image is brought to the model's spacing, or None where it is left as it is."""
    mode, spacing = config.input.resample, spacing_of(image.grid)
    metric = spacing is not None and image.grid.space.kind is not SpaceKind.GEOGRAPHIC
    if mode == "always" and (card.spacing is None or not metric):
        missing = f"model {card.name!r} names no spacing"
        if card.spacing is not None:
            missing = f"{image.uri} has no spacing in metres or millimetres"
        raise ConfigError(f"input.resample always: {missing}; leave it out, or give it one")
    if mode == "never" or card.spacing is None or spacing is None or not metric:
        return None
    found, unit = spacing
    if image.lengths is not None and unit == "mm" and card.resampling.align != "monai":
        found = image.lengths  # to the last bit, which decides ties where extents are rounded
    pairs = zip(found, card.spacing, strict=True)
    target = tuple(own if asked is None else asked for own, asked in pairs)
    if mode == "auto" and not card.resampling.differs(found, target):
        if card.resampling.extent is None:
            return None
        target = found
    factor = max(max(a / b, b / a) for a, b in zip(found, target, strict=True))
    if mode == "auto" and factor > _UNLIKELY:
        raise ConfigError(
            f"{image.uri} has a spacing of {_numbers(found)} {unit}, model {card.name!r} was "
            f"trained at {_numbers(target)} {unit}, {factor:.4g} times another: correct the "
            "image's spacing or the card's, or say input.resample never (or always)"
        )
    most = max(n * (a / b) for n, a, b in zip(image.grid.shape, found, target, strict=True))
    if most > _LARGEST:
        raise ConfigError(
            f"{image.uri} has a spacing of {_numbers(found)} {unit} and would have {most:.4g} "
            f"samples along an axis at the {_numbers(target)} {unit} of model {card.name!r}, "
            f"the limit is {_LARGEST}: correct one of them, or say input.resample never"
        )
    fit = card.resampling.fit(image.grid, found, target)
    if fit is None or fit.shape != image.grid.shape:
        return fit
    return None if all(map(fit.scaling.keeps, range(image.grid.ndim))) else fit


def _unturned(seen: Grid, axes: AxisMap | None) -> tuple[Grid, AxisMap | None]:
    """Return the model's grid along the image's own axes, and how these lead to the model's."""
    return (seen, None) if axes is None else (seen.turn(axes.inverse), axes)


def _turned(grid: Grid, card: ModelCard) -> tuple[Grid, AxisMap | None]:
    """Return a grid along the axes that a model wants, and how its own lead there."""
    axes = _axes(grid, card)
    return (grid, None) if axes is None else (grid.turn(axes), axes)


def _grid_of(path: str, card: ModelCard) -> Grid:
    with open_source(path, dims=card.dims) as source:
        return source.grid


def _require_overlap(name: str, grid: Grid, image: Grid) -> None:
    """Refuse a grid that has no sample within the image."""
    scaling = Scaling.between(image, grid, f"output.grid {name}")
    for axis, extent in enumerate(image.shape):
        x = scaling.centres(axis, 0, grid.shape[axis])
        if not ((x >= -0.5) & (x <= extent - 0.5)).any():
            raise GridMismatch(
                f"output.grid {name} must overlap the image: found bounds {grid.bounds}, the "
                f"image has {image.bounds}; give a grid within it"
            )


def _told(fit: Fit, image: Grid, seen: Grid) -> str:
    """Return how an image was resampled, in words."""
    before, after = spacing_of(image), spacing_of(seen)
    if before is None or after is None:
        return f"from {image.shape} to {seen.shape} samples"
    return (
        f"from {_numbers(before[0])} {before[1]} to {_numbers(after[0])} {after[1]} "
        f"({_words(fit.image)}; scores {_words(fit.scores)})"
    )


def _words(methods: tuple[Method, ...]) -> str:
    """Return the one method of all axes, or that of each."""
    return " x ".join(methods if len(set(methods)) > 1 else methods[:1])


def _numbers(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.5g}" for value in values)
