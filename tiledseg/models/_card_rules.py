"""What of a card does not fit together."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np

from ..document import brief
from ..errors import ConfigError
from ..normalize import AnyStep, Clip, How, SceneRange, Standard, WholeImage
from ._base import ModelCard, Previous
from ._limits import limits_of

#: Beyond this a number is infinite where it is computed with.
_LARGEST = float(np.finfo(np.float32).max)


def problem_of(card: ModelCard) -> str | None:
    """Return the first thing that does not fit together, or None."""
    if len(card.window) != card.dims or any(w < 1 for w in card.window):
        return f"window: expected {card.dims} positive numbers, found {card.window}"
    if any(w % card.multiple for w in card.window):
        return f"window: {card.window} must be a multiple of {card.multiple}"
    spacing = card.spacing
    fine = spacing is None or all(s is None or 0 < s <= _LARGEST for s in spacing)
    if spacing is not None and (len(spacing) != card.dims or not fine):
        return f"spacing: expected {card.dims} positive numbers, found {spacing}"
    if problem := card.resampling.problem(card.dims):
        return problem
    own = sorted({"window", "core", "multiple"} & set(card.tiling.given()))
    if own:
        return f"tiling.{own[0]}: is no wish of a model; window and multiple are keys of the card"
    if any(axis >= card.dims for axis in card.mirror):
        return f"mirror: a {card.dims}-D image has axes 0 to {card.dims - 1}, found {card.mirror}"
    if card.folds and card.format != "tiledseg":
        return f"folds: are of format tiledseg only, not {card.format}"
    if card.format == "tiledseg" and (card.layout, card.output, card.rim) != ("auto", None, 0):
        return "layout, output and rim: are of graph files only, not of format tiledseg"
    texts = (card.name, card.weights, card.licence, card.provenance, *card.channels)
    for text in (*texts, *(c.name for c in card.schema.classes)):
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            return f"{brief(text)}: is no text, and cannot be written to a file"
    background = card.schema.background
    if background is not None and background not in card.schema.ids:
        return f"background: no class has the id {background}"
    if card.single_output and (len(card.schema) != 2 or card.activation == "softmax"):
        return "single_output: needs two classes and activation sigmoid or none"
    if card.painted and (card.single_output or card.activation == "softmax"):
        return "painted: needs activation sigmoid or none, and no single_output"
    try:
        limits_of(card, card.thresholds)
    except ConfigError as error:
        return str(error)
    if card.crop is not None and background is None:
        return "crop: what is cropped off is background, and no class is named as that"
    if card.previous is not None and (problem := _previous_problem(card.previous, card)):
        return problem
    if card.axes is not None and sorted(card.axes) != list(range(card.dims)):
        return f"axes: expected 0 to {card.dims - 1} in some order, found {list(card.axes)}"
    if card.orientation is not None:
        pairs = sorted(p for c in card.orientation.upper() for p in ("AP", "IS", "LR") if c in p)
        if card.dims != 3 or pairs != ["AP", "IS", "LR"]:
            told = brief(card.orientation)
            return f"orientation: expected one of R/L, A/P and I/S each, found {told}"
    return next(filter(None, (_step_problem(s, card) for s in card.normalization.steps)), None)


def _previous_problem(previous: Previous, card: ModelCard) -> str | None:
    """Return what is wrong with the stage before, or None."""
    if not 0 < len(previous.labels) < len(card.channels):
        return (
            f"previous.labels: expected one for some of the last channels, found {previous.labels}"
        )
    if previous.model != Path(previous.model).name or previous.model == "..":
        return f"previous.model: expected the name of a folder beside, found {previous.model!r}"
    return None


def _step_problem(step: AnyStep, card: ModelCard) -> str | None:
    """Return what is wrong with the numbers of a normalisation step, or None."""
    if isinstance(step, WholeImage):
        return _whole_problem(step, card)
    for field in fields(step):
        value = getattr(step, field.name)
        if isinstance(field.default, bool):
            if not isinstance(value, bool):
                key = f"normalization.{step.kind}.{field.name}"
                return f"{key}: expected true or false, found {brief(value)}"
            continue
        per_channel, listed = isinstance(field.default, tuple), isinstance(value, tuple)
        numbers = value if listed else (value,)
        sizes = sorted({1, len(card.image_channels)}) if per_channel else [1]
        plain = all(type(v) in (int, float) and abs(v) <= _LARGEST for v in numbers)
        if not plain or len(numbers) not in sizes or (listed and not per_channel):
            wanted = " or ".join(map(str, sizes)) + " numbers" if per_channel else "a number"
            key = f"normalization.{step.kind}.{field.name}"
            return f"{key}: expected {wanted}, found {brief(list(value) if listed else value)}"
    return _limits_problem(step)


def _limits_problem(step: AnyStep) -> str | None:
    """Return what is wrong with the limits of a step that has some, or None."""
    if isinstance(step, Standard) and not np.all(step.std):
        return f"normalization.{step.kind}.std: expected numbers other than 0, found {step.std}"
    if not isinstance(step, Clip | SceneRange):
        return None
    low, high = np.broadcast_arrays(step.low, step.high)
    told = f"found low {brief(step.low)} and high {brief(step.high)}"
    if isinstance(step, SceneRange) and (low.min() < 0 or high.max() > 100):
        return f"normalization.{step.kind}: expected percentiles of 0 to 100, {told}"
    if (low >= high).any():
        return f"normalization.{step.kind}: expected low below high, {told}"
    if isinstance(step, SceneRange) and step.exact and (step.low, step.high) != (0, 100):
        return f"normalization.{step.kind}.exact: needs low 0 and high 100, {told}"
    return None


def _whole_problem(step: WholeImage, card: ModelCard) -> str | None:
    """Return what is wrong with statistics of the whole image, or None."""
    known, count = get_args(How), len(card.image_channels)
    if not isinstance(step.how, tuple) or len(step.how) != count or set(step.how) - set(known):
        return (
            f"normalization.{step.kind}.how: expected {count} of {', '.join(known)}, found "
            f"{brief(step.how)}"
        )
    if step is not card.normalization.steps[-1]:
        return f"normalization.{step.kind}: must be the last step"
    return None
