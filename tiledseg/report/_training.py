"""The page of a training: curves of loss and validation, what it came to, its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log10
from pathlib import Path
from typing import Any

from ..io import write_text
from ._html import render

#: Size of a figure in its own units, and what its axes take at the left and below, and the last
#: number along the steps at the right.
_WIDTH, _HEIGHT, _LEFT, _BELOW, _RIGHT = 640.0, 220.0, 56.0, 24.0, 24.0
#: Points of a curve; more cannot be told apart.
_POINTS = 400
#: Numbers along an axis.
_TICKS = 5

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What the page of a training shows.

    Args:
        title: Heading.
        log: Lines of the log: ``step`` with ``loss`` and ``rate``, or with ``score`` and
            ``figures``.
        told: Where the model comes from, in lines.
        recipe: The settings, YAML.
        versions: Package -> version.
    """

    title: str
    log: Sequence[dict[str, Any]]
    told: str
    recipe: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure: a curve in an SVG of `width` x `height`.

    Args:
        name: Heading.
        line: Attribute ``points`` of a polyline.
        across: Numbers along the steps: place and text.
        up: Numbers along the values.
        width: In its own units.
        height: In its own units.
    """

    name: str
    line: str
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    width: float = _WIDTH
    height: float = _HEIGHT


def write_training_page(path: Path, facts: TrainingFacts) -> None:
    """Write the page of a training.

    Raises:
        OutputFailed: It cannot be written.
    """
    kinds = (("loss", "Loss"), ("score", "Held-out cases: mean Dice"), ("rate", "Learning rate"))
    curves = [
        curve(name, [(line["step"], line[key]) for line in facts.log if key in line])
        for key, name in kinds
    ]
    checks = [line for line in facts.log if "figures" in line]
    best = max(checks, key=lambda line: line["score"], default=None)
    shown = [c for c in curves if c is not None]
    write_text(path, render("training.html", facts=facts, curves=shown, best=best))


def curve(name: str, points: Points) -> Curve | None:
    """Return the figure of some points, or None where there are fewer than two.

    Args:
        name: Heading.
        points: Step and value, by step.
    """
    known = [(x, y) for x, y in points if isfinite(y)]
    if len(known) < 2:
        return None
    step = -(-len(known) // _POINTS)
    known = [*known[:-1:step], known[-1]]
    xs, ys = _ticks([x for x, _ in known]), _ticks([y for _, y in known])

    def across(x: float) -> float:
        return _LEFT + (x - xs[0]) / (xs[-1] - xs[0]) * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return (_HEIGHT - _BELOW) - (y - ys[0]) / (ys[-1] - ys[0]) * (_HEIGHT - _BELOW - 8)

    line = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in known)
    return Curve(
        name,
        line,
        tuple((round(across(x), 1), f"{x:g}") for x in xs),
        tuple((round(up(y), 1), f"{y:.4g}") for y in ys),
    )


def _ticks(values: Sequence[float]) -> list[float]:
    """Return round numbers, evenly spaced, of which the first and last enclose some values.

    >>> _ticks([3, 97])
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    low, high = min(values), max(values)
    span = high - low or abs(high) or 1.0
    power = 10.0 ** int(log10(span / _TICKS) // 1)
    step = next(m * power for m in (1, 2, 5, 10) if m * power * _TICKS >= span)
    first, last = int(low / step // 1), int(-(-high / step // 1))
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]
