"""Labels of a case as a `Source` of class ids: from label images, and what they all keep to."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..errors import ConfigError
from ..io import Source
from ..labels import ClassSchema
from ..normalize import measured
from ._legend import Legend, counted, pack


class LabelSource(Source):
    """Class ids of one case: one channel of the schema's dtype.

    Where there is no truth a sample is the schema's `nodata`, and not valid. So one `read` tells
    all; nothing that is unlabelled can be taken for a class.

    Attributes:
        schema: The classes.
        strange: How often what no class is known for, as far as that is not told box by box.
        hidden: Id of a class that the file declares as nodata, so that it has no truth; or None.
    """

    channels = ("labels",)
    hidden: int | None = None

    def __init__(self, schema: ClassSchema) -> None:
        self.schema = schema
        self.dtype, self.nodata = schema.dtype, schema.nodata
        self.strange: Counter[str] = Counter()

    @abstractmethod
    def look(self, box: Box) -> tuple[NDArray[Any], Counter[str]]:
        """Return class ids of ``box``, (*box.shape), and how often what no class is known for."""

    def read(self, box: Box) -> NDArray[Any]:
        """Return the class ids of ``box``, (1, *box.shape); `nodata` where there is no truth."""
        return self.look(box)[0][None]

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where there is truth."""
        return np.asarray(self.look(box)[0] != self.nodata)


class ImageLabels(LabelSource):
    """Labels that are an image: values, a palette, or colours.

    Samples that the file declares as nodata, or that are NaN, have no truth, unless a person's
    legend names that very value. Marks that the legend does not know have none either, and are
    counted.

    Args:
        inner: The image: one channel; with a legend of colours, three channels of uint8, or one
            with a palette.
        schema: The classes.
        legend: What its marks stand for.

    Raises:
        ConfigError: It has other channels.
    """

    def __init__(self, inner: Source, schema: ClassSchema, legend: Legend) -> None:
        super().__init__(schema)
        self._inner, self._lookup = inner, legend.lookup(schema)
        self.uri, self.grid, self.blocks = inner.uri, inner.grid, inner.blocks
        self.lengths, self.working_bytes = inner.lengths, inner.working_bytes
        self._colored = legend.colored
        named = inner.nodata is not None and inner.nodata in legend.classes
        self._named_nodata = named and legend.written
        if named and not legend.written and inner.nodata is not None:
            self.hidden = legend.classes[int(inner.nodata)]
        _require_fit(inner, self._colored)

    def look(self, box: Box) -> tuple[NDArray[Any], Counter[str]]:
        """Return class ids of ``box``, and how often marks that the legend does not know."""
        values = self._inner.read(box)
        valid = measured(values, self._inner.valid(box))
        if self._named_nodata:
            valid = valid | (values[0] == self._inner.nodata)
        marks = self._marks(values)
        ids, strange = self._lookup(marks)
        strange &= valid
        names = counted(marks[strange], self._colored) if strange.any() else Counter[str]()
        return np.where(valid, ids, np.array(self.nodata, self.dtype)), names

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of the image."""
        return self._inner.fingerprint()

    def files(self) -> list[Path]:
        """Return the files of the image."""
        return self._inner.files()

    def close(self) -> None:
        """Close the image."""
        self._inner.close()

    def _marks(self, values: NDArray[Any]) -> NDArray[Any]:
        if not self._colored:
            return np.asarray(values[0])
        if self._inner.palette is not None:
            return np.asarray(pack(self._inner.palette)[values[0]])
        return pack(np.moveaxis(values[:3], 0, -1))


class CroppedLabels(LabelSource):
    """The labels of a part of an image.

    Args:
        inner: Those of the whole.
        box: The part, inside the image.
    """

    def __init__(self, inner: LabelSource, box: Box) -> None:
        super().__init__(inner.schema)
        self._inner, self._box = inner, box
        self.grid, self.uri, self.strange = inner.grid.crop(box), inner.uri, inner.strange
        self.hidden = inner.hidden
        self.blocks, self.working_bytes = (
            tuple(map(min, inner.blocks, box.shape)),
            inner.working_bytes,
        )

    def look(self, box: Box) -> tuple[NDArray[Any], Counter[str]]:
        """Return class ids of ``box`` of the part, and how often marks not known."""
        return self._inner.look(box.shift(self._box.start))

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of the labels of the whole, and the part."""
        return {"of": self._inner.fingerprint(), "box": [self._box.start, self._box.stop]}

    def files(self) -> list[Path]:
        """Return the files of the labels."""
        return self._inner.files()

    def close(self) -> None:
        """Close the labels."""
        self._inner.close()


def _require_fit(inner: Source, colored: bool) -> None:
    """Refuse an image that cannot be labels in the way the legend says."""
    count = len(inner.channels)
    if not colored:
        if count != 1:
            raise ConfigError(
                f"labels {inner.uri} must have one channel, found {count}; for masks coded by "
                "colour give a legend of colours ('#RRGGBB': class)"
            )
        return
    paletted = count == 1 and inner.palette is not None
    if not paletted and (count != 3 or inner.dtype != np.uint8):
        raise ConfigError(
            f"labels {inner.uri} must be RGB of uint8 or have a palette, as the legend names "
            f"colours; found {count} channel{'s' * (count != 1)} of {inner.dtype}"
        )
