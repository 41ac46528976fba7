"""What is asked of an evaluation, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import ConfigError
from ...grid import Grid
from ...labels import ClassSchema
from ...resampling import metric_spacing
from .._classes import read_classes

#: What can be measured: per sample, along boundaries (streamed), between surfaces (a class at a
#: time in memory), by amount, by instance.
METRICS = ("classes", "boundary", "surface", "amount", "panoptic")
_USUAL = {2: ("classes", "boundary", "amount"), 3: ("classes", "surface", "amount")}


@dataclass(frozen=True)
class EvaluateSpec:
    """How maps are measured.

    Args:
        metrics: Some of `METRICS`; None: what is usual for scenes, or for volumes.
        tolerance: Distances that boundaries and surfaces may be off, in mm for volumes, in metres
            for scenes with a projected CRS, else in samples; None: 1 and 2 mm, or 2 samples.
        ignore: Label values of the truth that mean there is none.
        classes: The classes: a schema, or a YAML with ``classes`` (a model's card is one); None:
            those that the map, or the truth, was written with, else every label value is a class.
        memory: Bytes that the process may hold, like ``4GB``; None: half of what is free.
        divisor: For panoptic: an id's class is ``id // divisor``.
        split: Where the truth is a dataset: its cases of this split only; None: those with a map.
        seed: Of the bootstrap over cases.

    Raises:
        ConfigError: There is no such metric, or a tolerance is below 0.
    """

    metrics: tuple[str, ...] | None = None
    tolerance: tuple[float, ...] | None = None
    ignore: tuple[int, ...] = ()
    classes: str | Path | ClassSchema | None = None
    memory: str | None = None
    divisor: int | None = None
    split: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics or () if name not in METRICS]
        if unknown:
            raise ConfigError(
                f"there is no metric {unknown[0]!r:.40}; take some of {', '.join(METRICS)}"
            )
        if any(not t >= 0 for t in self.tolerance or ()):
            raise ConfigError(f"tolerance {self.tolerance} must not be below 0")
        if self.divisor is not None and self.divisor < 1:
            raise ConfigError(f"divisor {self.divisor} must be at least 1, as 1000 in Cityscapes")

    def of(self, dims: int) -> tuple[str, ...]:
        """Return the metrics for images of so many axes."""
        return _USUAL[dims] if self.metrics is None else self.metrics

    def tolerances(self, grid: Grid) -> tuple[float, ...]:
        """Return the tolerances for an image, in the unit of `measuring_spacing`."""
        if self.tolerance is not None:
            return self.tolerance
        spacing, unit = measuring_spacing(grid)
        return (1.0, 2.0) if unit == "mm" else (2 * max(spacing),)

    def schema(self) -> ClassSchema | None:
        """Return the classes that were given.

        Raises:
            ConfigError: The file holds none.
        """
        if self.classes is None or isinstance(self.classes, ClassSchema):
            return self.classes
        return read_classes(Path(self.classes))


def measuring_spacing(grid: Grid) -> tuple[tuple[float, ...], str]:
    """Return the distance between samples per axis and its unit: mm, m or samples."""
    return metric_spacing(grid) or ((1.0,) * grid.ndim, "samples")
