"""The options that change a class map, shared by the commands that make one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from ..document import read_values
from ..errors import ConfigError

Small = Literal["background", "nodata", "neighbour"]
Smooth = Annotated[
    str | None,
    typer.Option(
        help="Give every sample the most frequent class within this radius: 2 (samples), 20m, 3mm."
    ),
]
KeepLargest = Annotated[
    list[str] | None,
    typer.Option(help="Keep the largest object of this class only; all: of every class."),
]
MinArea = Annotated[
    float | None, typer.Option(help="Remove smaller objects, in m2 (geodesic for degrees).")
]
MinVolume = Annotated[float | None, typer.Option(help="Remove smaller ones, in mm3.")]
MinSamples = Annotated[int | None, typer.Option(help="Remove objects of fewer samples.")]
SmallBecomes = Annotated[
    Small,
    typer.Option(
        "--small",
        help="What they become; neighbour: the class they share the longest border with, until "
        "none is left (minimum mapping unit).",
    ),
]
SmallClasses = Annotated[
    list[str] | None, typer.Option("--class", help="Remove small objects of this class only.")
]
FillHoles = Annotated[
    bool, typer.Option("--fill-holes", help="Fill background that lies within one class.")
]
Connectivity = Annotated[
    int | None,
    typer.Option(help="Neighbours that make an object one: 4 or 8; of volumes 6, 18 or 26."),
]
Steps = Annotated[
    list[str] | None,
    typer.Option(
        "--step",
        help="Any step as in a config, like 'keep_largest: {classes: [liver, tumour], together: "
        "true}'; after those of other options, in this order.",
    ),
]
_LENGTHS = {"mm": "radius_mm", "m": "radius_m", "": "radius"}


@dataclass(frozen=True)
class StepOptions:
    """What was given on the command line; None or empty: nothing."""

    smooth: str | None = None
    keep_largest: list[str] | None = None
    min_area: float | None = None
    min_volume: float | None = None
    min_samples: int | None = None
    small: Small = "background"
    classes: list[str] | None = None
    fill_holes: bool = False
    connectivity: int | None = None
    steps: list[str] | None = None

    def listed(self) -> list[Any]:
        """Return the steps as in a config: smooth, keep largest, remove small, fill holes, others.

        Raises:
            ConfigError: A text is no radius or no step, or an option has nothing to be for.
        """
        self._require_use()
        found: list[Any] = []
        near = {} if self.connectivity is None else {"connectivity": self.connectivity}
        if self.smooth is not None:
            found.append({"smooth": _radius(self.smooth)})
        if self.keep_largest:
            found.append({"keep_largest": {"classes": self.keep_largest, **near}})
        rest = {
            "becomes": self.small,
            **({"classes": self.classes} if self.classes else {}),
            **near,
        }
        for key, least in (
            ("area_m2", self.min_area),
            ("volume_mm3", self.min_volume),
            ("samples", self.min_samples),
        ):
            if least is not None:
                found.append({"remove_small": {key: least, **rest}})
        if self.fill_holes:
            found.append({"fill_holes": near})
        return [*found, *(read_values(text, f"--step {text!r:.80}") for text in self.steps or ())]

    def _require_use(self) -> None:
        sizes = (self.min_area, self.min_volume, self.min_samples)
        removes = any(least is not None for least in sizes)
        least = "--min-area, --min-volume or --min-samples"
        if not removes and (self.classes or self.small != "background"):
            option = "--class" if self.classes else "--small"
            raise ConfigError(f"{option} is for small objects: give {least}, too, or leave it out")
        looks = removes or self.keep_largest or self.fill_holes
        if self.connectivity is not None and not looks:
            raise ConfigError(
                f"--connectivity is for objects: give {least}, --keep-largest or --fill-holes, "
                "too; a --step has a connectivity of its own"
            )


def _radius(text: str) -> dict[str, float]:
    unit = next(unit for unit in _LENGTHS if text.endswith(unit))
    try:
        return {_LENGTHS[unit]: float(text.removesuffix(unit))}
    except ValueError:
        raise ConfigError(
            f"--smooth {text!r:.40} is no radius; write it like 2 (samples), 20m or 3mm"
        ) from None
