"""What is asked of instances, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...budget import parse_bytes
from ...components import MapFacts, enough, require_sizes
from ...errors import ConfigError
from .._scores import parted
from .._settings import is_number, read_settings

#: Depth of a split where none is said: in samples for distances, else in the channel's numbers.
_DEPTHS = (1.0, 0.1)
_FILES = ("split", "centres", "scores")
#: Extent of a window beyond which it is a slip.
_WIDEST = 255


@dataclass(frozen=True)
class InstancesSpec:
    """How objects are found.

    Args:
        classes: Whose objects are wanted, by name or id; none takes the map's things, and all but
            the background where the map does not say.
        connectivity: What makes an object one: 4 or 8 neighbours in 2-D; 6, 18 or 26 in 3-D; None
            takes 4 or 6.
        least: Objects of this size stay, smaller ones are none.
        unit: Of ``least``: "samples", "m2" (geodesic where the grid is in degrees) or "mm3".
        split: Objects that touch are parted by watershed: "distance" to what is around them, or
            ``FILE:CHANNEL``, high in the middle of objects. None: objects are components.
        boundaries: The channel of ``split`` is high along the borders of objects instead.
        depth: By how much a middle must rise above the neck to the next; in samples (the shortest
            side of one) for distances, 1 where nothing is said, else in the channel's numbers, 0.1.
        centres: File of a centre head and offset heads, in this order, ``FILE`` or
            ``FILE:CHANNELS``; see `tiledseg.objects.Heads`. Takes the place of components.
        threshold: Of centres: the least value (0.1 in Panoptic-DeepLab).
        window: Of centres: extent of the window in which one is the largest (7 there); odd.
        scores: Scores of 0 to 1, one channel, or one per class by name: objects get their mean.
        panoptic: Whether stuff gets ids, too, and all segments are told in a JSON.
        memory: Bytes that the process may hold, like ``4GB``; None: half of what is free. An
            object that has no room is not split; more objects than there is room for are refused.

    Raises:
        ConfigError: A setting is none of these.
    """

    classes: tuple[str | int, ...] = ()
    connectivity: int | None = None
    least: float = 0.0
    unit: Literal["samples", "m2", "mm3"] = "samples"
    split: str | None = None
    boundaries: bool = False
    depth: float | None = None
    centres: str | None = None
    threshold: float = 0.1
    window: int = 7
    scores: str | None = None
    panoptic: bool = False
    memory: str | None = None

    def __post_init__(self) -> None:
        if not (is_number(self.least) and self.least >= 0):
            raise ConfigError(f"least size {self.least!r:.40} is no number of 0 or more")
        if self.unit not in ("samples", "m2", "mm3"):
            raise ConfigError(f"unit {self.unit!r:.40} is none of samples, m2, mm3")
        if self.depth is not None and not (is_number(self.depth) and self.depth > 0):
            raise ConfigError(f"depth {self.depth!r:.40} is no number above 0")
        if not isinstance(self.window, int | np.integer) or self.window not in range(
            1, _WIDEST + 1, 2
        ):
            raise ConfigError(f"window {self.window!r:.40} must be odd, 1 to {_WIDEST}, like 7")
        if not is_number(self.threshold):
            raise ConfigError(f"threshold {self.threshold!r:.40} is no number")
        for name, value in (("boundaries", self.boundaries), ("panoptic", self.panoptic)):
            if not isinstance(value, bool):
                raise ConfigError(f"{name} {value!r:.40} is not true or false")
        self._require_one_way()
        if self.memory is not None:
            parse_bytes(self.memory)

    def _require_one_way(self) -> None:
        if self.centres is not None and self.split is not None:
            raise ConfigError("objects are found by split or by centres; give one of them")
        if self.centres is not None and self.connectivity is not None:
            raise ConfigError("objects around centres need not be connected; leave it out")
        if self.split is None and (self.depth is not None or self.boundaries):
            raise ConfigError("depth and boundaries belong to a split; give --split, too")
        if self.split == "distance" and self.boundaries:
            raise ConfigError("boundaries are those of a channel; give --split FILE:CHANNEL")

    @classmethod
    def of(cls, settings: dict[str, Any]) -> InstancesSpec:
        """Return the spec of settings by name.

        Raises:
            ConfigError: There is no such setting.
        """
        files = {k: str(settings[k]) for k in _FILES if settings.get(k) is not None}
        return read_settings(cls, "instances", {**settings, **files}, ("classes",))

    def files(self) -> list[Path]:
        """Return the local files that are read besides the map."""
        named = [parted(text)[0] for text in (self.split, self.centres, self.scores) if text]
        return [Path(name) for name in named if os.path.lexists(name)]

    def rise(self) -> float:
        """Return the depth of a split."""
        return _DEPTHS[self.split != "distance"] if self.depth is None else self.depth

    def enough(self, facts: MapFacts, unit: float) -> int:
        """Return the size that objects must have, in the numbers of their table.

        Args:
            facts: What amounts are told in.
            unit: What an amount of 1 stands for.

        Raises:
            ConfigError: The map has no sizes of that kind.
        """
        require_sizes(self.unit, facts.unit, facts.name)
        return enough(self.least, 1.0 if self.unit == "samples" else unit)
