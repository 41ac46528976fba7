"""Charts drawn with Pillow: a confusion matrix, and bars per class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..labels import Color

_INK, _PALE, _PAPER, _BLUE = (32, 33, 36), (218, 220, 224), (255, 255, 255), (31, 95, 170)
_TEXT, _CELL, _LABEL = 14, 58, 150
#: Classes of a picture; the tables have all.
_MOST = 30


def confusion_chart(counts: NDArray[np.uint64], names: list[str]) -> Image.Image:
    """Return a confusion matrix in shares of the truth: rows are the truth, columns the map.

    Args:
        counts: (n, n + 1); the last column is for samples without a class in the map, and is shown
            where there are any.
        names: Of the classes.
    """
    shown = min(len(names), _MOST)
    last = [len(names)] if counts[:, -1].any() else []
    columns = [*range(shown), *last]
    heads = [*(names[:shown]), *(["no class"] if last else [])]
    totals = counts.sum(axis=1, keepdims=True).astype(np.float64)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    told, font = "rows: truth, columns: map, shares of the truth", ImageFont.load_default(_TEXT)
    width = max(_LABEL + _CELL * len(columns), 12 + round(font.getlength(told)))
    size = (width + 12, _LABEL + _CELL * shown + 30)
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    for n, head in enumerate(heads):
        _upright(canvas, head, (_LABEL + n * _CELL + _CELL // 2, _LABEL - 8))
    for i in range(shown):
        y = _LABEL + i * _CELL
        draw.text((_LABEL - 8, y + _CELL // 2), _cut(names[i]), fill=_INK, font=font, anchor="rm")
        for n, j in enumerate(columns):
            x, share = _LABEL + n * _CELL, float(shares[i, j])
            fill = tuple(round(p + (b - p) * share) for p, b in zip(_PAPER, _BLUE, strict=True))
            draw.rectangle((x, y, x + _CELL - 2, y + _CELL - 2), fill=fill, outline=_PALE)
            ink = _PAPER if share > 0.5 else _INK
            text = f"{share:.2f}" if totals[i, 0] else "-"
            draw.text((x + _CELL // 2, y + _CELL // 2), text, fill=ink, font=font, anchor="mm")
    draw.text((12, size[1] - 22), told, fill=_INK, font=font)
    return canvas


def class_bars(
    values: NDArray[np.float64], figures: list[str], classes: list[tuple[str, Color]]
) -> Image.Image:
    """Return bars of 0 to 1, a group for every class; a figure that is none has no bar.

    Args:
        values: (classes, figures).
        figures: Their names.
        classes: Name and colour of every class.
    """
    shown, width = classes[:_MOST], 420
    height = 22 * len(figures) + 14
    canvas = Image.new("RGB", (2 * _LABEL + width + 90, height * len(shown) + 16), _PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TEXT)
    for i, (name, color) in enumerate(shown):
        top = 10 + i * height
        draw.text((12, top + 2), _cut(name), fill=_INK, font=font)
        for k, figure in enumerate(figures):
            y, value = top + 22 * k, float(values[i, k])
            left = 2 * _LABEL
            draw.text((left - 8, y + 9), _cut(figure), fill=_INK, font=font, anchor="rm")
            draw.rectangle((left, y, left + width, y + 17), outline=_PALE)
            if np.isfinite(value):
                draw.rectangle(
                    (left, y, left + round(width * min(1.0, value)), y + 17),
                    fill=color,
                    outline=_INK,
                )
            text = f"{value:.3f}" if np.isfinite(value) else "-"
            draw.text((left + width + 8, y + 9), text, fill=_INK, font=font, anchor="lm")
    return canvas


def _upright(canvas: Image.Image, text: str, foot: tuple[int, int]) -> None:
    """Write a text upwards, ending above ``foot``."""
    font = ImageFont.load_default(_TEXT)
    label = Image.new("RGB", (_LABEL - 16, 20), _PAPER)
    ImageDraw.Draw(label).text((0, 2), _cut(text), fill=_INK, font=font)
    turned = label.rotate(90, expand=True)
    canvas.paste(turned, (foot[0] - 10, foot[1] - turned.height))


def _cut(text: str) -> str:
    return text if len(text) <= 18 else text[:17] + "."
