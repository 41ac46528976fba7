"""The grids of a run: the image's, the model's and the result's, and the way between them."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import RunConfig
from ..errors import ConfigError, GridMismatch
from ..grid import AxisMap, Grid, SpaceKind
from ..io import NormalizedSource, OrientedSource, ResampledSource, Source, open_source
from ..models import ModelCard
from ..normalize import Normalization
from ..resampling import Method, Scaling, Target, everywhere
from ..spacing import Fit, spacing_of

#: Factor between two spacings from which on one of them is more likely a slip.
_UNLIKELY = 16


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
        lane: What is left to do to bring samples to model units.
        told: How it was resampled, in words, or None.
    """

    image: Source
    source: Source
    shown: Source
    target: Target | None
    grid: Grid
    axes: AxisMap | None
    lane: Normalization
    told: str | None = None


def orient(source: Source, card: ModelCard) -> tuple[Source, AxisMap | None]:
    """Return an image along the axes that a model wants, and how it was turned, if it was."""
    codes = card.orientation
    if codes is None or source.grid.orientation in (None, codes):
        return source, None
    return OrientedSource(source, codes), source.grid.reorient(codes)[1]


def place(
    config: RunConfig, card: ModelCard, opened: Source, normalization: Normalization
) -> Grids:
    """Return an image on the grids of a run.

    Args:
        config: The settings.
        card: The model's.
        opened: The image as it is stored.
        normalization: Fitted to the image.

    Raises:
        ConfigError: It cannot be resampled, or there is no such grid.
        GridMismatch: The grid of the result does not fit the image.
    """
    image, axes = orient(opened, card)
    fit = _fit(config, card, image)
    source, lane, told = image, normalization, None
    scores = everywhere("linear", image.grid.ndim)
    if fit is not None:
        if card.resampling.normalized:
            _require_no_air(config, card)
            source, lane = NormalizedSource(image, normalization), Normalization(())
        source = ResampledSource(source, fit.shape, fit.scaling, fit.image)
        scores, told = fit.scores, _told(fit, image.grid, source.grid)
    wanted = config.output.grid
    logits = card.resampling.logits
    if wanted == "source" and fit is not None:
        target = Target(image.grid, fit.shape, fit.back, scores, logits)
        return Grids(image, source, image, target, opened.grid, axes, lane, told)
    if wanted in ("source", "model"):
        own, turned = _unturned(source.grid, opened.grid, axes)
        return Grids(image, source, source, None, own, turned, lane, told)
    grid = _grid_of(wanted, card)
    frame, turned = _turned(grid, card)
    back = Scaling.between(source.grid, frame, f"output.grid {wanted}")
    _require_overlap(wanted, frame, image.grid)
    there = Scaling.between(image.grid, frame, f"output.grid {wanted}")
    picks = everywhere("nearest", frame.ndim)
    shown = ResampledSource(image, frame.shape, there, picks, border="missing")
    target = Target(frame, source.grid.shape, back, scores, logits)
    return Grids(image, source, shown, target, grid, turned, lane, told)


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
    if mode == "auto" and not card.resampling.differs(found, card.spacing):
        return None
    factor = max(max(a / b, b / a) for a, b in zip(found, card.spacing, strict=True))
    if mode == "auto" and factor > _UNLIKELY:
        raise ConfigError(
            f"{image.uri} has a spacing of {_numbers(found)} {unit}, model {card.name!r} was "
            f"trained at {_numbers(card.spacing)} {unit}, {factor:.0f} times another: correct the "
            "image's spacing or the card's, or say input.resample never (or always)"
        )
    return card.resampling.fit(image.grid, found, card.spacing)


def _unturned(seen: Grid, own: Grid, axes: AxisMap | None) -> tuple[Grid, AxisMap | None]:
    """Return the model's grid along the image's own axes, and how these lead to the model's."""
    if axes is None or own.orientation is None or seen.orientation is None:
        return seen, axes
    grid = seen.reorient(own.orientation)[0]
    return grid, grid.reorient(seen.orientation)[1]


def _turned(grid: Grid, card: ModelCard) -> tuple[Grid, AxisMap | None]:
    """Return a grid along the axes that a model wants, and how its own lead there."""
    codes = card.orientation
    if codes is None or grid.orientation in (None, codes):
        return grid, None
    return grid.reorient(codes)


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
