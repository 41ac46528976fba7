"""A recipe that follows from a dataset, a memory and a time, with the reason of every decision.

The rules are nnU-Net's (Isensee et al. 2021, Nature Methods 18, 203-211, and its documentation),
extended to rasters; where they differ the reason says so.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..budget import format_bytes
from ..datasets import VALIDATION, Census, Dataset
from ..document import to_flow
from ..errors import ConfigError
from ._decide import STEPPING, WANTED, Decision, Speed, decide
from ._fingerprint import Fingerprint, fingerprint
from ._recipe import Recipe
from ._speed import seconds_per_patch

#: Folds of a cross-validation (nnU-Net).
_FOLDS = 5
#: Share of the patches that hold a class for sure: nnU-Net a third of foreground, where background
#: is most of an image; without a background half, so that the rest shows how common classes are.
_FOREGROUND, _BALANCED = 1 / 3, 1 / 2
#: Percentiles that HU are clipped to (nnU-Net).
_CLIP = (0.5, 99.5)
#: Most validations, and fewest steps between them, but for the last.
_VALIDATIONS, _BETWEEN = 10, 100
#: Share of the time that validations can have.
_VALIDATING = 0.15
#: Letters of a line of comment.
_LINE = 100


@dataclass(frozen=True)
class PlannedRecipe:
    """A recipe, and why it is as it is.

    Args:
        recipe: The settings.
        reasons: Path of a setting, like ``patches.batch`` -> why.
        heading: What was planned for, a line each.
    """

    recipe: Recipe
    reasons: Mapping[str, str]
    heading: tuple[str, ...]

    def to_yaml(self) -> str:
        """Return the recipe as YAML to edit, with a comment per decision."""
        lines = [line for text in self.heading for line in _comment(text, "")]
        values = self.recipe.to_dict()
        for key in Recipe.model_fields:
            if key not in values:
                continue
            if isinstance(values[key], dict):
                lines += ["", f"{key}:"]
                for name, value in values[key].items():
                    lines += _entry(name, value, self.reasons.get(f"{key}.{name}"), "  ")
            else:
                lines += _entry(key, values[key], self.reasons.get(key), "")
        return "\n".join(lines) + "\n"


def plan_training(
    dataset: Dataset,
    census: Census,
    memory: float,
    minutes: float,
    home: Path | None = None,
    speed: Speed = seconds_per_patch,
) -> PlannedRecipe:
    """Return a recipe for a dataset.

    Args:
        dataset: The dataset, read from a file or folder.
        census: What its cases hold, but for those kept for the test.
        memory: Bytes the training may take.
        minutes: It may take.
        home: Folder of the recipe's file, from which the dataset is named; None: here.
        speed: Measures an architecture on this machine.

    Raises:
        ConfigError: There is nothing to learn from, or a budget is no positive number.
        BudgetExceeded: Not even the smallest network fits into the memory.
    """
    if dataset.home is None:
        raise ConfigError(f"dataset {dataset.name} was not read from a file that a recipe can name")
    if not (minutes > 0 and memory > 0 and np.isfinite(minutes)):
        raise ConfigError(f"minutes and memory must be positive, found {minutes:g} and {memory:g}")
    found = fingerprint(dataset, census)
    decision = decide(found, memory, minutes, speed)
    named = os.path.relpath(dataset.home, home or Path.cwd())
    data, why = _data(dataset, census, found)
    augment, why_augment = _augment(dataset, decision)
    shares, why_shares = _shares(dataset, census)
    held_out = _held_out(dataset, census, data) * found.samples
    validate, why_validate = _validations(held_out, decision, minutes)
    values = {
        "name": dataset.name,
        "licence": dataset.licence,
        "data": {"dataset": Path(named).as_posix(), **data},
        "network": {
            "architecture": decision.architecture,
            "deep": max(0, len(decision.shape.strides) - 3),
        },
        "patches": {
            "window": list(decision.shape.window),
            "batch": decision.batch,
            "shares": shares,
            "cache": f"{max(1, int(decision.cache / 1e6))}MB",
        },
        "augment": augment,
        "optimizer": {"warmup": min(100, decision.steps // 10)},
        "run": {
            "steps": decision.steps,
            "validate": validate,
            "minutes": minutes,
        },
    }
    reasons = {
        "licence": "that of the data; yours to judge",
        **why,
        **_network_reasons(found, decision, memory, minutes),
        "run.validate": why_validate,
        "patches.shares": why_shares,
        **why_augment,
    }
    heading = (
        f"Recipe for {dataset.name}: {len(census.cases)} labelled cases of {found.groups} groups, "
        f"typically {' x '.join(map(str, found.extent))} samples.",
        f"Planned for {format_bytes(memory)} and {minutes:g} minutes on this machine; edit what "
        "you know better.",
        f"Content: {census.digest}",
    )
    return PlannedRecipe(Recipe.parse(values), reasons, heading)


def _data(
    dataset: Dataset, census: Census, found: Fingerprint
) -> tuple[dict[str, Any], dict[str, str]]:
    steps, reason = _normalization(dataset, census, found)
    values: dict[str, Any] = {
        "spacing": None if found.spacing is None else list(found.spacing),
        "orientation": found.orientation,
        "normalization": steps,
    }
    own = VALIDATION in dataset.splits
    why = {
        "data.spacing": found.spaced,
        "data.orientation": "that of most volumes; others are turned to it",
        "data.normalization": reason,
    }
    if own:
        why["data.dataset"] = "its own split says what is held out"
    elif found.groups >= 2:
        values["folds"] = min(_FOLDS, found.groups)
        why["data.folds"] = (
            f"of {found.groups} groups, which stay together; fold 0 of 0 to {values['folds'] - 1} "
            "is held out, another with `fold: 1` (nnU-Net trains all of them)"
        )
    else:
        why["data.dataset"] = (
            "one group, so nothing is held out and no figure tells how good the model is: add "
            "scenes, or cut this one into blocks (blocks: {side: 256} in the dataset's YAML)"
        )
    return values, why


def _held_out(dataset: Dataset, census: Census, data: Mapping[str, Any]) -> float:
    """Return the share of the cases that is held out."""
    if "folds" in data:
        return 1 / float(data["folds"])
    held = sum(c.split == VALIDATION for c in dataset.learnable)
    return held / max(1, len(census.cases))


def _validations(samples: float, decision: Decision, minutes: float) -> tuple[int, str]:
    """Return the steps between validations, one of which is at the end, and why so many.

    A window takes about as long as a patch of training: forwards only, but in float32.

    Args:
        samples: Held out.
        decision: The network.
        minutes: For the training.
    """
    window = decision.shape.window
    overlap = (4 / 3 if len(window) == 2 else 2) ** len(window)  # of windows, as usual
    windows = samples * overlap / prod(window)
    one = windows * decision.seconds / decision.batch
    most = int(min(max(_VALIDATING * 60 * minutes / max(one, 1e-9), 1), _VALIDATIONS))
    every = max(_BETWEEN, -(-decision.steps // most))
    times = -(-decision.steps // every)
    return every, (
        f"{times} times, the last at the end: {_VALIDATIONS} at most, in {_VALIDATING:.0%} of the "
        f"time, and {_BETWEEN} steps apart"
        if times > 1
        else "at the end only: there is no time for more"
    )


def _normalization(
    dataset: Dataset, census: Census, found: Fingerprint
) -> tuple[list[dict[str, Any]], str]:
    """Return the steps from intensities to model units, and why these."""
    if dataset.modality == "ct":
        low, high = census.percentiles(_CLIP)
        mean, std = _mean_std(census, foreground=True)
        clip = {"kind": "clip", "low": _plain(low), "high": _plain(high)}
        scale = {"kind": "standard", "mean": _plain(mean), "std": _plain(std)}
        return [clip, scale], (
            "HU mean the same everywhere: clipped to the 0.5th and 99.5th percentile of what is "
            "labelled, then by mean and deviation there (nnU-Net's CT)"
        )
    if dataset.modality == "mr" or (dataset.modality == "" and found.dims == 3):
        unsure = "" if dataset.modality else "; if these are HU, say modality: ct in the dataset"
        return [{"kind": "scene_score", "exact": True}], (
            "units differ from scan to scan: every image by its own mean and deviation (nnU-Net's "
            f"z-score){unsure}"
        )
    mean, std = _mean_std(census, foreground=False)
    return [{"kind": "standard", "mean": _plain(mean), "std": _plain(std)}], (
        "sensors and products keep their units: every channel by the mean and deviation of all "
        "images, not of each, so that a bright scene stays bright"
    )


def _mean_std(census: Census, foreground: bool) -> tuple[Any, Any]:
    m = census.foreground if foreground else census.moments
    std = np.sqrt(m.spread / np.maximum(m.count, 1))
    return m.mean, np.where(std > 0, std, 1.0)


def _plain(values: Any) -> list[float]:
    return [float(f"{v:.6g}") for v in values]


def _network_reasons(
    found: Fingerprint, decision: Decision, memory: float, minutes: float
) -> dict[str, str]:
    tight = "" if decision.steps >= WANTED else f"; fewer than the {WANTED} it should have"
    room = f"{format_bytes(memory)} and {minutes:g} minutes"
    width = (
        f", the quickest, as none with {WANTED} steps fits {room}"
        if tight
        else f" are the most that fit {room} with {WANTED} steps"
    )
    norm = (
        "norm of the batch: a sample then depends on its surroundings only, and tiles agree"
        if decision.norm == "batch"
        else "norm of the patch, as batches are small (nnU-Net)"
    )
    return {
        "network.architecture": (
            f"nnU-Net's U-Net, pooled until 4 samples are left; {decision.width} channels at the "
            f"finest{width}; {norm}"
        ),
        "network.deep": "all decoder stages but the coarsest (nnU-Net)",
        "patches.window": (
            "of one real extent along all axes, at most that of a typical image, a multiple of "
            "what is pooled (nnU-Net), and as large as memory and time allow"
        ),
        "patches.batch": (
            "about 260,000 samples, but 2 patches at least, 4 for a norm of the batch, and at most "
            "5 % of all samples (nnU-Net); "
            f"training takes about {format_bytes(decision.memory)}"
        ),
        "patches.cache": "decoded images that are kept",
        "run.steps": (
            f"{STEPPING:.0%} of {minutes:g} minutes at {decision.seconds:.3g} s a step, as "
            f"measured on this machine{tight}"
        ),
        "run.minutes": "planned for; a training that will take longer says so, and goes on",
        "optimizer.warmup": "a tenth of the steps, at most 100; AdamW, as nnU-Net's SGD needs more",
    }


def _shares(dataset: Dataset, census: Census) -> tuple[dict[str, float], str]:
    """Return how often a class is asked for."""
    background = dataset.schema.background
    there = [
        c
        for c, n in zip(census.schema.unique, census.totals, strict=True)
        if n and c.id != background
    ]
    if not there:
        raise ConfigError(f"dataset {dataset.name} has no sample of any class but the background")
    share = (_BALANCED if background is None else _FOREGROUND) / len(there)
    why = (
        "half of the patches for a class by turns, half anywhere"
        if background is None
        else "a third of the patches for a class by turns (nnU-Net), the rest anywhere"
    )
    return {c.name: float(f"{share:.4g}") for c in there}, why


def _augment(dataset: Dataset, decision: Decision) -> tuple[dict[str, Any], dict[str, str]]:
    """Return how patches are varied: nnU-Net's ranges, and what is known of up and down."""
    window, upright = decision.shape.window, dataset.modality == "photo"
    turning = not upright and len(window) == 2 and window[-1] == window[-2]
    values: dict[str, Any] = {
        "flips": [1] if upright else "all",
        "quarter_turns": turning,
        "rotation": 10.0 if upright else 30.0,
        "zoom": [0.7, 1.4],
        "brightness": 0.25,
        "contrast": 0.25,
        "gamma": [0.7, 1.5],
        "noise": 0.1,
        "blur": 1.0,
    }
    flips = (
        "photos have an up and a down: left and right only"
        if upright
        else "no side is up (nnU-Net); take an axis out if its sides are classes, like left and "
        "right, or anterior and posterior"
    )
    coarse = "; about every axis, but in the plane only where samples are over 3 times as long "
    coarse += "across it (nnU-Net)"
    why = {
        "augment.flips": flips,
        "augment.rotation": f"degrees, in real lengths{'' if len(window) == 2 else coarse}",
        "augment.zoom": "this and what follows: the ranges of nnU-Net",
    }
    return values, why


def _entry(name: str, value: Any, reason: str | None, indent: str) -> list[str]:
    """Return the lines of a setting: why, then what."""
    lines = _comment(reason, indent) if reason else []
    if isinstance(value, dict) and value:
        nested = (_entry(key, inner, None, indent + "  ") for key, inner in value.items())
        return [*lines, f"{indent}{to_flow(name)}:", *(line for some in nested for line in some)]
    return [*lines, f"{indent}{to_flow(name)}: {to_flow(value)}"]


def _comment(text: str, indent: str) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(
        text, _LINE, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False
    )
