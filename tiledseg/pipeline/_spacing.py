"""Whether and how an image is brought to the spacing a model was trained at."""

from __future__ import annotations

from ..config import RunConfig
from ..errors import ConfigError
from ..grid import Grid
from ..io import Source
from ..models import ModelCard
from ..resampling import Method, Respacing, filled, metric_spacing, spacing_of

#: Factor between two spacings from which on one of them is more likely a slip.
_UNLIKELY = 16
#: Samples along an axis beyond which a grid that is made is a slip of the spacing.
_LARGEST = 2**24


def respacing_of(config: RunConfig, card: ModelCard, image: Source) -> Respacing | None:
    """Return how an image is brought to the model's spacing, or None where it is left as it is.

    Raises:
        ConfigError: It is to be and cannot be, or its spacing or the model's is a slip.
    """
    stated = None if card.resampling.align == "monai" else image.lengths
    mode, spacing = config.input.resample, metric_spacing(image.grid, stated)
    if mode == "always" and (card.spacing is None or spacing is None):
        missing = f"model {card.name!r} names no spacing"
        if card.spacing is not None:
            missing = f"{image.uri} has no spacing in metres or millimetres"
        raise ConfigError(f"input.resample always: {missing}; leave it out, or give it one")
    if mode == "never" or card.spacing is None or spacing is None:
        return None
    found, unit = spacing
    target = filled(card.spacing, found)
    if mode == "auto" and not card.resampling.differs(found, target):
        if card.resampling.extent is None:
            return None
        target = found
    named = f"{image.uri} has a spacing of {_numbers(found)} {unit}"
    factor = max(max(a / b, b / a) for a, b in zip(found, target, strict=True))
    if mode == "auto" and factor > _UNLIKELY:
        raise ConfigError(
            f"{named}, model {card.name!r} was trained at {_numbers(target)} {unit}, {factor:.4g} "
            "times another: correct the image's spacing or the card's, or say input.resample "
            "never (or always)"
        )
    most = max(n * (a / b) for n, a, b in zip(image.grid.shape, found, target, strict=True))
    if most > _LARGEST:
        raise ConfigError(
            f"{named} and would have {most:.4g} samples along an axis at the {_numbers(target)} "
            f"{unit} of model {card.name!r}, the limit is {_LARGEST}: correct one of them, or say "
            "input.resample never"
        )
    return card.resampling.respacing(image.grid, found, target)


def words_of(way: Respacing, image: Grid, seen: Grid) -> str:
    """Return how an image was resampled, in words."""
    before, after = spacing_of(image), spacing_of(seen)
    if before is None or after is None:
        return f"from {image.shape} to {seen.shape} samples"
    return (
        f"from {_numbers(before[0])} {before[1]} to {_numbers(after[0])} {after[1]} "
        f"({_words(way.image)}; scores {_words(way.scores)})"
    )


def _words(methods: tuple[Method, ...]) -> str:
    """Return the one method of all axes, or that of each."""
    return " x ".join(methods if len(set(methods)) > 1 else methods[:1])


def _numbers(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.5g}" for value in values)
