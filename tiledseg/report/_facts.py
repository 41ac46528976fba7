"""What a report tells, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid
from ..labels import ClassSchema


@dataclass(frozen=True, slots=True)
class ClassMeasure:
    """How much of a class there is.

    Args:
        id: Label.
        name: Its name.
        color: Its colour.
        samples: Number of samples.
        share: Of all measured samples, 0 to 1.
        amount: Area or volume.
        unit: ``ha``, ``ml`` or ``samples``.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    samples: int
    share: float
    amount: float
    unit: str

    @property
    def told_amount(self) -> str:
        """The amount for people: samples are counted, areas and volumes have two decimals."""
        return f"{self.amount:,.{0 if self.unit == 'samples' else 2}f}"


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Everything a report shows.

    Args:
        title: Heading.
        grid: Grid of the class map as shown.
        schema: The classes.
        image: Decimated image, (c, *s).
        valid: Where it was measured, (*s).
        class_map: Labels at the same samples, (*s).
        channels: Names of the image's channels.
        measures: Per class.
        ran: How it ran: name -> value, in the order to show.
        config: The config as run, YAML.
        versions: Package -> version.
        warnings: What the user should know.
        outputs: Files made.
        made_from: Digest of the image, the model and the settings.
    """

    title: str
    grid: Grid
    schema: ClassSchema
    image: NDArray[Any]
    valid: NDArray[np.bool_]
    class_map: NDArray[Any]
    channels: tuple[str, ...]
    measures: tuple[ClassMeasure, ...]
    ran: dict[str, Any]
    config: str
    versions: dict[str, str]
    warnings: tuple[str, ...]
    outputs: tuple[Path, ...]
    made_from: str | None = None


def measure_classes(
    samples: NDArray[np.int64], amounts: NDArray[np.float64], unit: str, schema: ClassSchema
) -> tuple[ClassMeasure, ...]:
    """Say how much of every class there is.

    Args:
        samples: Per class, by ascending label.
        amounts: Their area or volume.
        unit: Of the amounts.
        schema: The classes.
    """
    measured = max(1, int(samples.sum()))
    return tuple(
        ClassMeasure(c.id, c.name, c.color, int(n), float(n) / measured, float(a), unit)
        for c, n, a in zip(schema.unique, samples, amounts, strict=True)
    )
