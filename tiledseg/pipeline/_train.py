"""Training: the recipe's cases learned from, the held-out ones segmented by the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..config import check_threads
from ..engine import machine
from ..errors import ConfigError
from ..models import Model, ModelCard, library_versions, using_threads
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
from ._segment import Predictor, segment
from ._validate import Validator

#: What is to be looked at, beside the model.
PAGE = "train.html"


def train(
    recipe: Recipe | str | Path | dict[str, Any],
    out: str | Path,
    *,
    fresh: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    command: str = "",
    on_event: Callable[[Event], None] | None = None,
    on_case: Callable[[str], None] | None = None,
) -> Trained:
    """Train a model on labelled cases, or go on where an earlier run of the recipe stopped.

    Under torch's launcher (``torchrun``) the processes share every batch.

    Args:
        recipe: The settings: a file, a `Recipe`, or its plain values.
        out: Folder of the model, which `segment` takes; checkpoints, log and page are in it, too.
        fresh: Discard what an earlier run left there.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Threads of torch; None takes those of an earlier run, else every core.
        command: How it was called, for the model's card.
        on_event: Told of steps, validations and checkpoints.
        on_case: Told the name of every case whose labels were counted.

    Returns:
        The model's card and how the training ended.

    Raises:
        ConfigError: The recipe is wrong, or does not fit the dataset; ``out`` holds something else.
        PlanChanged: An earlier run in ``out`` was of another recipe or dataset.
        TrainingFailed: The loss is no number any more.
        DamagedInput: A file is not what it claims to be.
        OutputFailed: Something cannot be written.
    """
    check_threads(threads, "threads")
    options = Options(device, threads, fresh, command)
    settings = _recipe(recipe)
    folder = Path(out)
    job = prepare_job(settings, on_case)

    def validator(card: ModelCard) -> Validate:
        return Validator(job, card, device, folder / WORK, _segmented)

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


def _segmented(image: Any, model: Model, target: Path | None, count: int) -> NDArray[Any] | None:
    own: dict[str, Any] = {"output": {"report": False}, "runtime": {"threads": count}}
    return segment(image, Predictor(model, "training"), target, fresh=True, **own).array


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
