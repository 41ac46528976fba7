"""The image of a run: opened with the channels and in the orientation that the model wants."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..config import RunConfig
from ..errors import ConfigError
from ..io import Cropped, Overview, Source, decimated, fit_to, open_source, read_padded
from ..models import ModelCard
from ..normalize import Normalization, measured
from ..tiling import TilePlan
from ._frame import find_frame
from ._grids import Grids, orient, place

#: Windows on which models are compared, and places looked at to find them.
_SAMPLE, _PLACES = 4, 25
#: Share of the valid samples of the best place that a place needs to be looked at closely.
_GOOD = 0.9


@dataclass(frozen=True)
class View:
    """An image as the model sees it.

    Args:
        grids: The image on the grids of the run.
        overview: Decimated image on the grid of the result, (c, *s), and where it was measured.
    """

    grids: Grids
    overview: Overview

    @property
    def source(self) -> Source:
        """The image, in the model's orientation and on its grid."""
        return self.grids.source

    def windows(self, plan: TilePlan) -> torch.Tensor | None:
        """Return some windows (n, c, *window) of the best seen parts, spread over the image.

        Returns:
            In model units; None where nothing was measured in any place looked at.
        """
        boxes = [
            Box.of_shape(
                plan.window, tuple(axis[i] for axis, i in zip(plan.starts, p, strict=True))
            )
            for p in _spread(tuple(len(axis) for axis in plan.starts), _PLACES)
        ]
        shares = np.array([self._read(box, plan)[1].mean() for box in boxes])
        if not shares.any():
            return None
        good = np.flatnonzero(shares >= _GOOD * shares.max())
        chosen = good[np.unique(np.linspace(0, len(good) - 1, _SAMPLE).round().astype(int))]
        read = (self._read(boxes[i], plan) for i in chosen)
        return torch.stack([torch.from_numpy(self.grids.lane(*parts)) for parts in read])

    def _read(self, box: Box, plan: TilePlan) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        values, valid = read_padded(self.source, box, plan.padding)
        return values, measured(values, valid)


def _spread(counts: tuple[int, ...], most: int) -> list[tuple[int, ...]]:
    """Return at most ``most`` places spread over a lattice in a fixed order."""
    total = prod(counts)
    flat = np.unique(((np.arange(most) + 0.5) * total / most).astype(np.int64))
    return [tuple(int(i) for i in np.unravel_index(f, counts)) for f in flat]


def open_view(config: RunConfig, image: Any, card: ModelCard) -> View:
    """Open an image for a model.

    Raises:
        ConfigError: They do not fit together.
        DamagedInput: The image is not what it claims to be.
    """
    opened = open_image(config, image, card)
    try:
        image, _ = orient(opened, card)
        frame = find_frame(image, card)
        array = Cropped(image.grid.shape, card.axes)
        image = image if frame is None else frame.source(image)
        overview = own = decimated(image)

        def fit(seen: Source) -> Normalization:
            return fit_to(image, seen, card.normalization, array, own)

        grids = place(config, card, opened, fit, frame)
        if grids.shown.grid != image.grid:
            overview = decimated(grids.shown)
    except BaseException:
        opened.close()
        raise
    return View(grids, overview)


def open_image(config: RunConfig, image: Any, card: ModelCard) -> Source:
    """Open an image with the channels that a model wants.

    Raises:
        ConfigError: They do not fit together.
        DamagedInput: The image is not what it claims to be.
    """
    wanted, series = config.input.channels, config.input.series
    source = open_source(image, channels=wanted, series=series, dims=card.dims)
    named = isinstance(image, str | Path)
    names = card.image_channels
    if named and wanted is None and _elsewhere(names, source.channels):
        source.close()
        source = open_source(image, channels=names, series=series, dims=card.dims)
    if source.grid.ndim != card.dims:
        raise ConfigError(
            f"model {card.name!r} segments {card.dims}-D images, {source.uri} has "
            f"{source.grid.ndim} axes"
        )
    if len(source.channels) != len(names):
        raise ConfigError(
            f"model {card.name!r} takes {len(names)} channels "
            f"({', '.join(names)}), {source.uri} has "
            f"{len(source.channels)} ({_names(source.channels)}); "
            "choose them (input.channels, on the command line --channels)"
        )
    return source


def _elsewhere(wanted: tuple[str, ...], there: tuple[str, ...]) -> bool:
    """Return whether all channels wanted are there by name, at other places."""
    asked, found = ([name.lower() for name in names] for names in (wanted, there))
    return asked != found and set(asked) <= set(found)


def _names(channels: tuple[str, ...]) -> str:
    text = ", ".join(channels)
    return text if len(text) <= 80 else f"{text[:77]}..."
