"""A training from its job to a model folder; begun, or gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError, DamagedInput, PlanChanged
from ..io import open_folder, write_text, writing
from ..models import (
    TRAINING,
    ModelCard,
    create_network,
    fast_layout,
    read_card,
    save_model,
    using_threads,
)
from ._card import provenance
from ._checkpoint import load_tensors
from ._identity import content, require_same
from ._job import Job
from ._listeners import BOARD, LOG, Listeners
from ._loop import BEST, CHECKPOINT, Event, Loop, Validate
from ._network import Learner, build
from ._precision import choose_precision
from ._recipe import Recipe
from ._start import lies_in
from ._state import Numbers, State
from ._world import World, joined

#: What a training keeps in the model's folder to go on from, and its settings there.
WORK, RECIPE = TRAINING
#: Written last: how the training ended.
DONE = "train.json"
#: The files of the model.
_MADE = ("model.yaml", "weights.safetensors")


@dataclass(frozen=True)
class Trained:
    """A model that a training made.

    Args:
        folder: Where it is.
        card: Its card.
        numbers: How the training ended.
        resumed: Steps that an earlier run had done.
        first: Whether this is the process, of those that train together, that tells and writes.
    """

    folder: Path
    card: ModelCard
    numbers: Numbers
    resumed: int
    first: bool = True


@dataclass(frozen=True)
class Options:
    """How a training is run; none of it changes what comes out, but for the last bits.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Threads of torch; None: as an earlier run had, else as they are.
        fresh: Discard what an earlier run left.
        command: How it was called, for the card.
    """

    device: str = "cpu"
    threads: int | None = None
    fresh: bool = False
    command: str = ""


def run_training(
    job: Job,
    out: Path,
    options: Options,
    validate: Callable[[ModelCard], Validate] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Trained:
    """Train a model, or go on where an earlier run stopped, and write it.

    Args:
        job: What is learned from.
        out: Folder of the model.
        options: How it is run.
        validate: Makes what segments the held-out cases, for the model's card and its device.
        on_event: Told of what happens; of the first process.

    Returns:
        What was made.

    Raises:
        ConfigError: ``out`` holds something else, or there is no such device.
        PlanChanged: An earlier run was of another recipe, dataset or number of processes or
            threads; or another one is under way there.
        TrainingFailed: The loss is no number any more.
        OutputFailed: Something cannot be written.
        DamagedInput: The checkpoint is damaged.
        KeyboardInterrupt, SystemExit: It was asked to stop, and has kept where it stands.
    """
    with (
        joined(options.device) as world,
        using_threads(options.threads),
        _own_random(world),
        _alone(out, world),
    ):
        if job.recipe.patches.batch % world.size:  # gradients are averaged as of equal shares
            raise ConfigError(
                f"patches.batch {job.recipe.patches.batch} cannot be shared evenly by {world.size} "
                "processes: take a multiple of their number"
            )
        if world.first:
            _claim(out, job, options.fresh)
        done = world.share(_done(out, job) if world.first else None)
        if done is not None:
            return Trained(out, read_card(out), done, done.step, world.first)
        state, resumed = _state(job, out, world, options.threads)
        if world.first:  # what it is known by is the same; where that lies may have changed
            with writing(out):
                write_text(out / WORK / RECIPE, job.recipe.to_yaml())
        board = job.recipe.run.tensorboard
        hears = Listeners(out, board, on_event, state.numbers.step) if world.first else None
        batches = job.batches((world.rank, world.size))
        with hears or nullcontext(_ignore) as listen, closing(batches):
            checks = validate(job.card) if validate is not None and job.held_out else None
            loop = Loop(
                job.recipe,
                state,
                batches,
                job.augment(),
                job.loss(),
                world,
                out / WORK,
                checks if world.first else None,
                listen,
                _identity(job, world),
            )
            loop.run()
        card = job.card
        if world.first:
            card = _finish(job, out, state, options)
        world.largest(0)  # all wait for all; after a broadcast the first would go at once
    return Trained(out, card, state.numbers, resumed, world.first)


# ----------------------------------------------------------------------- before


def _ignore(event: Event) -> None:
    """Take no notice."""


def _claim(out: Path, job: Job, fresh: bool) -> None:
    """Make the folder, or take over that of an earlier run of the same recipe.

    Raises:
        ConfigError: It holds something else.
        PlanChanged: The recipe changed.
    """
    start = job.recipe.network.start
    if start is not None and lies_in(start, out):
        raise ConfigError(
            f"network.start {start} lies in the folder to train in: name another --out"
        )
    before = out / WORK / RECIPE
    own = before.is_file()
    beside = {RECIPE, WORK}  # a recipe to train by may lie there
    if out.exists() and not own and (not out.is_dir() or {p.name for p in out.iterdir()} - beside):
        raise ConfigError(
            f"{out} is there and holds something else than a training: name another --out"
        )
    if own and not fresh:
        earlier = Recipe.read(before)
        if changes := earlier.changes(job.recipe):
            raise PlanChanged(
                f"{out} holds a training of another recipe: {'; '.join(changes)}; go on with that "
                f"recipe ({before}), name another --out, or start again with --fresh"
            )
    with writing(out):
        if fresh and own:
            for name in (*_MADE, LOG, DONE):
                (out / name).unlink(missing_ok=True)
            for name in (WORK, BOARD):
                shutil.rmtree(out / name, ignore_errors=True)
        (out / WORK).mkdir(parents=True, exist_ok=True)
        if not before.is_file():
            write_text(before, job.recipe.to_yaml())


def _done(out: Path, job: Job) -> Numbers | None:
    """Return how a training ended, or None where it has not.

    Raises:
        DamagedInput: Its file is damaged.
        PlanChanged: It was of another dataset.
    """
    path = out / DONE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        numbers, kept = Numbers(**values["numbers"]), dict(values["content"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedInput(f"{path} is damaged ({error}): start again with --fresh") from None
    require_same(kept, content(job))
    return numbers


def _state(job: Job, out: Path, world: World, threads: int | None) -> tuple[State, int]:
    """Return where a training stands, and how many steps an earlier run had done.

    Raises:
        PlanChanged: The dataset changed, or the number of processes or threads.
    """
    recipe, checkpoint = job.recipe, out / WORK / CHECKPOINT

    def make() -> Learner:
        start = None if job.start is None else job.start.network
        learner = build(recipe.network, job.card, recipe.run.seed, start)
        layout = fast_layout(learner, job.card.dims, world.device)
        placed: Learner = learner.to(world.device)
        placed.to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack it
        return placed

    tensors, kept = load_tensors(checkpoint) if checkpoint.is_file() else ({}, None)
    if kept is not None:
        before = kept.get("identity", {})
        if threads is None and "threads" in before:  # sums in other parts end in other bits
            torch.set_num_threads(before["threads"])
        require_same(before, _identity(job, world))
        precision = kept["state"]["precision"]
    else:
        each = recipe.patches.batch // world.size
        size = (each, len(job.card.channels), *recipe.patches.window)
        image = torch.randn(size, device=world.device)
        precision = choose_precision(recipe.run.precision, world.device, make, image)
    state = State(make(), recipe.optimizer, world.share(precision))
    if kept is not None:
        state.restore(tensors, kept["state"])
    return state, state.numbers.step


def _identity(job: Job, world: World) -> dict[str, Any]:
    """Return what must be the same for the same weights to follow, on one kind of device."""
    return {**content(job), "processes": world.size, "threads": torch.get_num_threads()}


def _alone(out: Path, world: World) -> AbstractContextManager[None]:
    """Keep other trainings out of the folder."""
    if not world.first:
        return nullcontext()
    return open_folder(out.resolve()).lock(shared=False)


@contextmanager
def _own_random(world: World) -> Iterator[None]:
    """Leave torch's random state as it was found."""
    with torch.random.fork_rng([world.device] if world.device.type == "cuda" else []):
        yield


# ----------------------------------------------------------------------- after


def _finish(job: Job, out: Path, state: State, options: Options) -> ModelCard:
    """Write the model; then what a training goes on from is not needed any more."""
    numbers, best = state.numbers, out / WORK / BEST
    kept = numbers.best_step if best.is_file() else numbers.step
    weights = load_tensors(best)[0] if best.is_file() else state.weights()
    figures = {name: _figure(value) for name, value in numbers.figures.items()}
    picked = ", the best on the held-out cases, which flatters their figures"
    told = provenance(
        {
            "command": options.command,
            **job.facts(),
            "steps": f"{numbers.step} of {job.recipe.run.steps}, weights of step {kept}"
            + (picked if kept < numbers.step else ""),
            "arithmetic": f"{numbers.precision} on {next(state.learner.parameters()).device.type}",
            "held-out figures": "; ".join(f"{k} {v}" for k, v in figures.items()),
        }
    )
    card = replace(job.card, provenance=told)
    network = create_network(card)
    network.load_state_dict(weights)
    with writing(out):
        save_model(network, card, out)
        done = {"numbers": state.plain(), "content": content(job), **job.facts()}
        done["command"] = options.command
        write_text(out / DONE, json.dumps(done, indent=2))
        for name in (CHECKPOINT, BEST):
            (out / WORK / name).unlink(missing_ok=True)
    return card


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(one)}" for name, one in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)
