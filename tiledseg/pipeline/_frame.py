"""The part of an image that a model sees, for models that want it cropped.

The box is found once, by looking at every sample, and is part of the run's identity; workers take
it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..io import CroppedSink, CroppedSource, Sink, Source, nonzero_box
from ..models import ModelCard


@dataclass(frozen=True)
class Frame:
    """A box of an image, along the model's axes.

    Args:
        shape: Of the image.
        box: The part that the model sees; the rest is background.
    """

    shape: tuple[int, ...]
    box: Box

    def source(self, whole: Source) -> Source:
        """Return the part of the image."""
        return CroppedSource(whole, self.box)

    def sink(self, whole: Sink, rest: NDArray[Any]) -> Sink:
        """Return what takes the part for a sink of the whole; ``rest`` is what lies around it."""
        return CroppedSink(whole, self.shape, self.box, rest)

    def fill(self, part: NDArray[Any], rest: int) -> NDArray[Any]:
        """Return the whole map of a part."""
        whole = np.full(self.shape, rest, part.dtype)
        whole[self.box.slices] = part
        return whole

    @property
    def outside(self) -> int:
        """Samples around the part."""
        return prod(self.shape) - self.box.size

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` turns back into this."""
        box = [list(self.box.start), list(self.box.stop)]
        return {"shape": list(self.shape), "box": box}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Frame:
        """Return the frame `to_dict` described."""
        start, stop = values["box"]
        return cls(tuple(values["shape"]), Box(tuple(start), tuple(stop)))


def find_frame(image: Source, card: ModelCard) -> Frame | None:
    """Return what a model sees of an image along its axes; None: all of it."""
    if card.crop is None:
        return None
    box = nonzero_box(image)
    return None if box is None else Frame(image.grid.shape, box)
