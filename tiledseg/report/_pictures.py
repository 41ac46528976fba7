"""Pictures of a result: image, class map over it, legend."""

from __future__ import annotations

from math import ceil
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..grid import Grid
from ..labels import ClassSchema
from ._facts import ClassMeasure, ReportFacts

_ALPHA = 0.45
_INK, _PAPER, _FRAME = (32, 33, 36), (255, 255, 255), (218, 220, 224)
_LEGEND = 20
_TEXT = 15
_SLICES = 12
#: Names that tell a channel's colour, among them Sentinel-2's band numbers.
_RGB_NAMES = (("red", "b4", "b04"), ("green", "b3", "b03"), ("blue", "b2", "b02"))


class Pictured(Protocol):
    """An image and labels at the same samples; see `ReportFacts`."""

    @property
    def grid(self) -> Grid: ...

    @property
    def schema(self) -> ClassSchema: ...

    @property
    def image(self) -> NDArray[Any]: ...

    @property
    def valid(self) -> NDArray[np.bool_]: ...

    @property
    def class_map(self) -> NDArray[Any]: ...

    @property
    def channels(self) -> tuple[str, ...]: ...


def picture(facts: ReportFacts) -> Image.Image:
    """Return the picture of a result: a scene side by side, or a montage of slices."""
    return with_legend(panels(facts), facts.measures)


def panels(shown: Pictured) -> Image.Image:
    """Return an image and labels: a scene side by side, or a montage of slices."""
    return _scene(shown) if shown.grid.ndim == 2 else _montage(shown)


def _scene(facts: Pictured) -> Image.Image:
    gray = stretched(facts.image, facts.valid, facts.channels)
    blended = _blend(gray, facts.class_map, facts)
    width = facts.valid.shape[1]
    rows = facts.grid.spacing[0] * facts.grid.shape[0]
    columns = facts.grid.spacing[1] * facts.grid.shape[1]
    scale = 720 / max(rows, columns)
    size = (max(40, round(columns * scale)), max(40, round(rows * scale)))
    flat = Image.Resampling.LANCZOS if width > size[0] else Image.Resampling.NEAREST
    left = Image.fromarray(gray).resize(size, flat)
    right = Image.fromarray(blended).resize(size, flat)
    canvas = Image.new("RGB", (2 * size[0] + 12, size[1]), _PAPER)
    canvas.paste(left, (0, 0))
    canvas.paste(right, (size[0] + 12, 0))
    return canvas


def _montage(facts: Pictured) -> Image.Image:
    """Slices spread over the classes' extent along axis 0, seen from below as radiologists do."""
    gray = stretched(facts.image[:1], facts.valid, facts.channels[:1])
    labelled = (facts.class_map != (facts.schema.background or 0)) & facts.valid
    used = np.flatnonzero(labelled.any(axis=(1, 2)))
    first, last = (used[0], used[-1]) if len(used) else (0, len(gray) - 1)
    picks = np.unique(np.linspace(first, last, _SLICES).round().astype(int))
    _, rows, columns = (s * n for s, n in zip(facts.grid.spacing, facts.grid.shape, strict=True))
    scale = 240 / max(rows, columns)
    size = (max(24, round(columns * scale)), max(24, round(rows * scale)))
    across = min(4, len(picks))
    down = ceil(len(picks) / across)
    canvas = Image.new("RGB", (across * (size[0] + 4), down * (size[1] + 4)), (0, 0, 0))
    for n, pick in enumerate(picks):
        blended = _blend(gray[pick], facts.class_map[pick], facts)
        panel = Image.fromarray(blended).resize(size, Image.Resampling.BILINEAR)
        canvas.paste(panel, ((n % across) * (size[0] + 4) + 2, (n // across) * (size[1] + 4) + 2))
    return canvas


def stretched(
    image: NDArray[Any], valid: NDArray[np.bool_], channels: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Return (*s, 3): red, green, blue where the names tell, else the first channels."""
    layers = [_stretch(image[i], valid) for i in _rgb(channels)]
    return np.stack(layers, axis=-1)


def _rgb(channels: tuple[str, ...]) -> tuple[int, int, int]:
    lowered = [name.lower() for name in channels]
    found = [next((lowered.index(n) for n in names if n in lowered), None) for names in _RGB_NAMES]
    if None not in found:
        return tuple(found)  # type: ignore[return-value]  # three numbers, as just checked
    return (0, 1, 2) if len(channels) >= 3 else (0, 0, 0)


def _stretch(band: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Spread the 1st to 99th percentile of measured samples over 0 to 255."""
    values = band.astype(np.float32)
    seen = values[valid]
    if not len(seen):
        return np.full(band.shape, 235, np.uint8)
    low, high = np.percentile(seen, (1, 99))
    spread = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255
    return np.where(valid, np.nan_to_num(spread), 235).astype(np.uint8)


def _blend(gray: NDArray[np.uint8], class_map: NDArray[Any], facts: Pictured) -> NDArray[np.uint8]:
    """Lay the classes' colours over the image; background and nodata stay clear."""
    table = np.zeros((int(facts.schema.nodata) + 1, 3), np.float32)
    shown = np.zeros(len(table), bool)
    for c in facts.schema.unique:
        table[c.id], shown[c.id] = c.color, c.id != facts.schema.background
    mix = gray * (1 - _ALPHA) + table[class_map] * _ALPHA
    return np.where(shown[class_map][..., None], mix, gray).astype(np.uint8)


def with_legend(panels: Image.Image, measures: tuple[ClassMeasure, ...]) -> Image.Image:
    """Return a picture above the names, colours and shares of the classes."""
    present = sorted((m for m in measures if m.samples), key=lambda m: -m.samples)
    rows = present[:_LEGEND]
    font = ImageFont.load_default(_TEXT)
    columns = max(1, min(4, panels.width // 260))
    lines = ceil(len(rows) / columns)
    height = lines * 26 + (34 if len(present) > len(rows) else 16)
    canvas = Image.new("RGB", (panels.width + 24, panels.height + height + 24), _PAPER)
    canvas.paste(panels, (12, 12))
    draw = ImageDraw.Draw(canvas)
    for n, m in enumerate(rows):
        x = 12 + (n % columns) * (panels.width // columns)
        y = panels.height + 24 + (n // columns) * 26
        draw.rectangle((x, y, x + 18, y + 18), fill=m.color, outline=_FRAME)
        draw.text((x + 26, y), f"{m.name[:26]}  {m.share:.1%}", fill=_INK, font=font)
    if len(present) > len(rows):
        y = panels.height + 24 + lines * 26
        draw.text((12, y), f"and {len(present) - len(rows)} more", fill=_INK, font=font)
    return canvas
