"""The page of an evaluation: figures, confusion matrix, bars per class, the worst cases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..io import write_text
from ..labels import ClassSchema
from ._charts import class_bars, confusion_chart
from ._encoded import save_png
from ._html import render
from ._pictures import stretched

#: Pixels along the longer side of each part of a panel's picture.
_SIDE = 400
_GAP = 8
#: Pixels of an outline.
_WIDE = 2
_AGREED, _WRONG, _UNKNOWN = (214, 218, 222), (200, 30, 40), (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Seen:
    """A part of the image that map and truth are labels of.

    Args:
        image: Channels, (c, y, x).
        valid: Where something was measured, (y, x).
        channels: Their names.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A part of a case, to be shown as truth, map and difference.

    Args:
        caption: What it is.
        truth: Label values, (y, x).
        found: Those of the map.
        valid: Where there is a truth.
        measured: Where the map has a class.
        extent: Height and width in one unit; samples may have been left out.
        seen: The image at the same samples, where it is known: it is shown, with outlines of truth
            and map on it.
    """

    caption: str
    truth: NDArray[Any]
    found: NDArray[Any]
    valid: NDArray[np.bool_]
    measured: NDArray[np.bool_]
    extent: tuple[float, float]
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class EvaluationFacts:
    """Everything the page of an evaluation shows.

    Args:
        title: Heading.
        schema: The classes.
        warnings: What the user should know.
        overall: Name, figure, and its interval or counts, as texts.
        columns: Names of the figures per class.
        classes: Per class, in the order of ``schema.unique``, every figure and how it is shown.
        counts: Confusion matrix, (n, n + 1): truth rows, map columns, the last for no class.
        cases: A head and a row of texts per case; empty for one case.
        worst: Parts to show.
        ran: How it ran: name -> value, in the order to show.
        versions: Package -> version.
    """

    title: str
    schema: ClassSchema
    warnings: tuple[str, ...]
    overall: list[tuple[str, str, str]]
    columns: tuple[str, ...]
    classes: list[list[tuple[float, str]]]
    counts: NDArray[np.uint64]
    cases: list[list[str]]
    worst: tuple[Panel, ...]
    ran: dict[str, Any]
    versions: dict[str, str]


def write_evaluation(folder: Path, facts: EvaluationFacts) -> list[Path]:
    """Write ``report.html`` and its pictures into a folder that is there.

    Returns:
        The files, the page first.

    Raises:
        OutputFailed: A file cannot be written.
    """
    pictures: list[tuple[str, str, Image.Image]] = []
    if facts.counts.any():
        pictures.append(("confusion.png", "Truth against map", _confusion(facts)))
        pictures.append(("classes.png", "Figures per class", _bars(facts)))
    for n, panel in enumerate(facts.worst, 1):
        name = f"worst_{n}_{re.sub(r'[^A-Za-z0-9_-]+', '_', panel.caption)[:40]}.png"
        pictures.append((name, panel.caption, panel_picture(panel, facts.schema)))
    page = folder / "report.html"
    shown = [(caption, save_png(folder / name, image)) for name, caption, image in pictures]
    write_text(page, render("evaluation.html", facts=facts, pictures=shown))
    return [page, *(folder / name for name, _, _ in pictures)]


def panel_picture(panel: Panel, schema: ClassSchema) -> Image.Image:
    """Return truth, map and difference side by side: red is wrong, white has no truth.

    Where there is an image, it comes first, and truth and map are outlines on it.
    """
    known = panel.valid & panel.measured
    wrong = panel.valid & ((panel.truth != panel.found) | ~panel.measured)
    difference = np.full((*panel.valid.shape, 3), _UNKNOWN, np.uint8)
    difference[panel.valid] = _AGREED
    difference[wrong] = _WRONG
    scale = _SIDE / max(panel.extent)
    height, width = (max(8, round(n * scale)) for n in panel.extent)
    labels = [(panel.truth, panel.valid), (panel.found, known)]
    if panel.seen is None:
        parts = [_sized(_coloured(*one, schema), (width, height)) for one in labels]
    else:
        image = stretched(panel.seen.image, panel.seen.valid, panel.seen.channels)
        below = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        parts = [below, *(_outlined(below, *one, schema) for one in labels)]
    parts.append(_sized(difference, (width, height)))
    canvas = Image.new("RGB", (len(parts) * (width + _GAP) - _GAP, height), (255, 255, 255))
    for n, part in enumerate(parts):
        canvas.paste(part, (n * (width + _GAP), 0))
    return canvas


def _sized(pixels: NDArray[Any], size: tuple[int, int]) -> Image.Image:
    """Return labels or colours of samples as a picture of a size, width first."""
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def _outlined(
    below: Image.Image, labels: NDArray[Any], known: NDArray[np.bool_], schema: ClassSchema
) -> Image.Image:
    """Return a picture with the borders of classes in their colours, inside of each, on it."""
    inside = known if schema.background is None else known & (labels != schema.background)
    number = _numbers(labels, inside, schema)
    shown = np.asarray(_sized(number, below.size))
    border = np.zeros(shown.shape, np.bool_)
    for axis, step in ((axis, step) for axis in (0, 1) for step in range(1, _WIDE + 1)):
        near, far = (np.moveaxis(shown, axis, 0)[part] for part in (np.s_[:-step], np.s_[step:]))
        along = np.moveaxis(border, axis, 0)
        along[:-step] |= near != far
        along[step:] |= near != far
    pixels = np.array(below)
    colors = np.array([(0, 0, 0), *(c.color for c in schema.unique)], np.uint8)
    border &= shown > 0
    pixels[border] = colors[shown[border]]
    return Image.fromarray(pixels)


def _coloured(
    labels: NDArray[Any], known: NDArray[np.bool_], schema: ClassSchema
) -> NDArray[np.uint8]:
    colors = np.array([_UNKNOWN, *(c.color for c in schema.unique)], np.uint8)
    return colors[_numbers(labels, known, schema)]


def _numbers(
    labels: NDArray[Any], known: NDArray[np.bool_], schema: ClassSchema
) -> NDArray[np.int32]:
    """Return which class of the schema, from 1 on, samples have; 0: none, or it is not known."""
    places = {c.id: place for place, c in enumerate(schema.unique, 1)}
    there, own = np.unique(labels[known], return_inverse=True)
    numbers = np.zeros(labels.shape, np.int32)
    numbers[known] = np.array([places.get(i, 0) for i in there.tolist()], np.int32)[own]
    return numbers


def _confusion(facts: EvaluationFacts) -> Image.Image:
    return confusion_chart(facts.counts, [c.name for c in facts.schema.unique])


def _bars(facts: EvaluationFacts) -> Image.Image:
    shares = [
        n
        for n, name in enumerate(facts.columns)
        if name in ("precision", "recall", "dice", "iou") or name.startswith(("boundary", "nsd"))
    ]
    values = np.array([[row[n][0] for n in shares] for row in facts.classes])
    classes = [(c.name, c.color) for c in facts.schema.unique]
    return class_bars(values, [facts.columns[n] for n in shares], classes)
