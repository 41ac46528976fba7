"""What ids of segments stand for: the panoptic JSON beside an id map, and ids held as colours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...errors import ConfigError
from ...io import DerivedSource, Source
from ...objects import ReadSegments, read_segments, segments_path


def segments_of(image: Any) -> ReadSegments | None:
    """Return what is told of a file's ids, or None.

    In ``ids.json`` beside ``ids.tif``, or in ``folder.json`` beside a folder of PNGs, as COCO has
    ``panoptic_val2017.json``.

    Raises:
        DamagedInput: It is no panoptic JSON.
    """
    if not isinstance(image, str | Path) or "://" in str(image):
        return None
    path = Path(image)
    folder = Path(os.path.abspath(path)).parent
    for place in (segments_path(path), folder.with_name(folder.name + ".json")):
        found = read_segments(place, path.name) if place.is_file() else None
        if found is not None:
            return found
    return None


def require_same_categories(found: ReadSegments, truth: ReadSegments, both: str) -> None:
    """Refuse ids of classes that stand for another class in the truth.

    Raises:
        ConfigError: They do.
    """
    for number in sorted(found.names.keys() & truth.names.keys()):
        one, other = found.names[number], truth.names[number]
        if one.casefold() != other.casefold():
            raise ConfigError(
                f"{both} name their classes differently: {number} is {one!r:.40} and "
                f"{other!r:.40}; bring the ids of one to those of the other"
            )


class ColouredIds(DerivedSource):
    """Ids that are held as colours, R + 256 G + 65536 B.

    Args:
        inner: Three channels of uint8.
    """

    def __init__(self, inner: Source) -> None:
        super().__init__(inner)
        self.channels, self.dtype, self.nodata = ("id",), np.dtype(np.uint32), None

    @classmethod
    def holds(cls, source: Source) -> bool:
        """Return whether ids can be held in a source."""
        return len(source.channels) == 3 and source.dtype == np.uint8

    def read(self, box: Box) -> NDArray[Any]:
        """Return the ids of ``box``."""
        red, green, blue = self.inner.read(box).astype(np.uint32)
        ids: NDArray[Any] = red | green << np.uint32(8) | blue << np.uint32(16)
        return ids[np.newaxis]
