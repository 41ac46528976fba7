"""What does not go together is refused before any work; what a user should know is told."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

from .. import vector
from ..config import RunConfig, RuntimeSpec
from ..engine import machine
from ..errors import ConfigError
from ..grid import SpaceKind
from ..models import ModelCard, usual_locality
from ..resampling import filled, spacing_of
from ..tiling import TilePlan
from ._grids import Grids

#: Share of windows evaluated more than once above which the user is told.
_EXTRA_WORK = 0.5


def check_vectors(config: RunConfig, dims: int) -> None:
    """Refuse vectors that do not fit the image, before any work.

    Raises:
        ConfigError: Polygons of a volume, or surfaces of a scene.
        UnknownFormat: No such vector format.
    """
    if config.output.polygons is not None:
        if dims != 2:
            raise ConfigError("polygons are made of 2-D images; for a volume ask for surfaces")
        vector.check_polygon_format(Path(config.output.polygons))
    if config.output.surfaces is not None and dims != 3:
        raise ConfigError("surfaces are made of volumes; for a 2-D image ask for polygons")


def check_air(config: RunConfig, card: ModelCard) -> None:
    """Refuse to skip air where no class could be given to it.

    Raises:
        ConfigError: The limit is no number, or the model has no background.
    """
    limit = config.input.skip_below
    if limit is not None and not isfinite(limit):
        raise ConfigError(f"input.skip_below {limit}: give a finite intensity, like -900 for CT")
    if limit is not None and card.schema.background is None:
        raise ConfigError(
            f"input.skip_below makes air background, but model {card.name!r} names no background "
            "class: leave it out, or name one in the card"
        )


def check_own(config: RunConfig, own: bool) -> None:
    """Refuse to choose, or change, labels that a bundle's own code makes.

    Raises:
        ConfigError: That is asked for.
    """
    asked = [n for n in ("thresholds", "postprocess") if getattr(config.output, n)]
    if own and asked:
        raise ConfigError(
            f"output.{asked[0]}: with --trust-code the bundle's own code makes the labels; change "
            "them afterwards with `tiledseg postprocess`"
        )


def check_travel(config: RunConfig, image: Any) -> None:
    """Refuse to send workers what only this process has.

    Raises:
        ConfigError: The image is an array.
    """
    images = image if isinstance(image, list | tuple) else [image]
    if config.runtime.distributed and not all(isinstance(one, str | Path) for one in images):
        raise ConfigError(
            f"workers open the image by its name, got {type(images[0]).__name__}: give a path"
        )


def crowd_warnings(plan: TilePlan, spec: RuntimeSpec) -> list[str]:
    """Return what there is to say of more threads than this machine has cores."""
    cores, workers = machine.cores(), spec.workers
    if plan.threads * workers <= cores or spec.scheduler or spec.cluster:
        return []
    return [
        f"{workers} workers with {plan.threads} threads each share {cores} cores and wait for one "
        "another: lower runtime.workers, or runtime.threads (a loaded model keeps the threads it "
        "was loaded with)"
    ]


def plan_warnings(
    grids: Grids, plan: TilePlan, card: ModelCard, model: str | list[str]
) -> list[str]:
    """Return what there is to say of a plan: wasted work, results that may differ, spacing.

    Args:
        grids: Image and result.
        plan: The plan.
        card: The model's card.
        model: The models by name.
    """
    told = []
    if plan.extra_work > _EXTRA_WORK:
        told.append(
            f"tiles of {plan.core} samples are small beside windows of {plan.window}: "
            f"{plan.extra_work:.0%} more windows are evaluated than the image has; raise "
            "tiling.core or budget.memory, or lower tiling.window or runtime.microbatch"
        )
    if card.locality != "local" and plan.planned > 1:
        told.append(_reach_warning(card, model if isinstance(model, str) else "MODEL"))
    if card.locality == "local" and plan.margin < card.margin and plan.planned > 1:
        told.append(
            f"the margin {plan.margin} is less than the model's receptive radius {card.margin}: "
            "the result can differ from whole-image inference; use a larger window and margin"
        )
    told += _spacing_warnings(grids, card)
    return told


def _reach_warning(card: ModelCard, model: str) -> str:
    """Return what there is to say of a model that is, or may be, global."""
    if card.locality == "global":
        return (
            f"model {card.name!r} is global: an output sample depends on its whole window (by "
            "instance norm, attention or pooling over the window), so the result can differ from "
            "whole-image inference; tiledseg probe names the layers"
        )
    usual = usual_locality(card.architecture, card.dims)
    known = "" if usual is None else f"; {usual}"
    return (
        f"model {card.name!r} may be global, nobody has measured it: where an output sample "
        "depends on its whole window (instance norm, attention, squeeze-and-excitation), the "
        f"result can differ from whole-image inference{known}; measure it once with tiledseg "
        f"probe {model}, and runs go by what was found"
    )


def _spacing_warnings(grids: Grids, card: ModelCard) -> list[str]:
    """Return what there is to say of a spacing that is not the model's."""
    grid = grids.source.grid
    spacing = spacing_of(grid)
    if card.spacing is None or spacing is None or grids.told is not None:
        return []
    found, unit = spacing
    if not card.resampling.differs(found, filled(card.spacing, found)):
        return []
    remedy = "let it be resampled (input.resample)"
    if grid.space.kind is SpaceKind.GEOGRAPHIC:
        remedy = "reproject it to a CRS in metres (gdalwarp)"
    return [
        f"model {card.name!r} was trained at a spacing of {card.spacing} {unit}, the image has "
        f"{tuple(round(f, 4) for f in found)}: expect worse results, or {remedy}"
    ]
