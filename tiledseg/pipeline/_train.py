"""Training: the recipe's cases learned from, the held-out ones segmented by the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..engine import machine
from ..errors import ConfigError
from ..models import ModelCard, library_versions, using_threads
from ..report import TrainingFacts, write_training_page
from ..training import (
    LOG,
    WORK,
    Event,
    Options,
    Recipe,
    Trained,
    Validate,
    prepare_job,
    read_log,
    run_training,
)
from ._validate import Segment, Validator

#: What is to be looked at, beside the model.
PAGE = "train.html"


def train(
    segment: Segment,
    recipe: Recipe | str | Path | dict[str, Any],
    out: str | Path,
    options: Options,
    on_event: Callable[[Event], None] | None = None,
    on_case: Callable[[str], None] | None = None,
) -> Trained:
    """Train a model; see `tiledseg.train`.

    Args:
        segment: Segments an image with a loaded model.
        recipe: The settings, or their file.
        out: Folder of the model.
        options: How it is run.
        on_event: Told of what happens.
        on_case: Told the name of every case whose labels were counted.
    """
    settings = _recipe(recipe)
    folder = Path(out)
    job = prepare_job(settings, on_case)

    def validator(card: ModelCard) -> Validate:
        return Validator(job, card, options.device, folder / WORK, segment)

    with using_threads(machine.cores()):  # which a training takes that is not told how many
        trained = run_training(job, folder, options, validator, on_event)
    if not trained.first:
        return trained
    facts = TrainingFacts(
        title=settings.name,
        log=read_log(folder / LOG),
        told=trained.card.provenance,
        recipe=settings.to_yaml(),
        versions=library_versions(),
    )
    write_training_page(folder / PAGE, facts)
    return trained


def _recipe(recipe: Recipe | str | Path | dict[str, Any]) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, str | Path):
        return Recipe.read(recipe)
    if isinstance(recipe, dict):
        return Recipe.parse(recipe)
    raise ConfigError(
        f"recipe {type(recipe).__name__}: give a Recipe, its values or the path of its file"
    )
