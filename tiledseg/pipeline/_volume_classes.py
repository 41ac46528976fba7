"""Which classes of a label volume are wanted, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..io import Source
from ..labels import ClassInfo, ClassSchema, background_of, default_colors

_LABELS = 1 << 16


def chosen_labels(classes: Sequence[str | int], schema: ClassSchema | None, uri: str) -> list[int]:
    """Return the labels of classes that are named, or given by label.

    Raises:
        ConfigError: There is no such class, or there are several of the name.
    """
    if schema is not None:
        return [schema.find(given, uri) for given in classes]
    for text in map(str, classes):
        if not (text.isdecimal() and len(text) < 6 and int(text) < _LABELS):
            raise ConfigError(
                f"{uri} has no class {text!r:.60}; it names none: give labels, like 1,5"
            )
    return [int(given) for given in classes]


def wanted_labels(
    schema: ClassSchema | None, source: Source, some: Sequence[int] | None
) -> NDArray[np.bool_]:
    """Return the labels to look at: all but background and nodata where none are named."""
    wanted = np.full(_LABELS, some is None)
    if some is not None:
        wanted[list(some)] = True
        return wanted
    background = background_of(schema, source.nodata)
    if background is not None:
        wanted[background] = False
    if schema is not None:  # volume files cannot declare nodata: tiledseg writes the schema's
        wanted[schema.nodata] = False
    return wanted


def infos_of(labels: Sequence[int], schema: ClassSchema | None) -> list[ClassInfo]:
    """Return the classes of labels; those without a name are called by their label."""
    known = {} if schema is None else {c.id: c for c in schema.unique}
    colors = default_colors(400)  # by label, so that a class looks the same in every volume
    return [known.get(i, ClassInfo(i, f"class {i}", colors[i % 400])) for i in labels]
