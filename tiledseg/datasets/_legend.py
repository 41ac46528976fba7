"""Legend: what the values, colours or names of label files stand for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..document import brief
from ..errors import ConfigError
from ..labels import ClassSchema, Color

#: What a label file holds: a number, a colour, or the text of a polygon's field.
Mark = int | Color | str
#: Words for samples without truth, where a class is asked for.
_WITHOUT = ("ignore", "unlabelled", "unlabeled")
_COLOR = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_NUMBER = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True, slots=True)
class Legend:
    """What every mark of a label file stands for; several marks may be one class.

    Args:
        classes: Mark -> id of its class, or None where the mark means "no truth here". Numbers are
            those of label rasters, volumes and polygons, colours those of RGB-coded or paletted
            masks, texts those of a polygon's field.
        written: Whether a person wrote it: only then does it overrule what a file declares.

    Raises:
        ConfigError: There is no mark, or numbers and colours are mixed.
    """

    classes: Mapping[Mark, int | None]
    written: bool = False

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("a legend needs at least one entry")
        if self.colored and any(isinstance(mark, int) for mark in self.classes):
            raise ConfigError("legend: names values and colours at once; give one of the two")

    @property
    def colored(self) -> bool:
        """Whether masks are coded by colour."""
        return any(isinstance(mark, tuple) for mark in self.classes)

    @classmethod
    def of_schema(cls, schema: ClassSchema, ignore: Sequence[Mark] = ()) -> Legend:
        """Return the legend by which a value is its class's id, and a text its class's name."""
        own: dict[Mark, int | None] = {}
        for c in schema.unique:
            own[c.id] = own[c.name] = c.id
        return cls({**own, **dict.fromkeys(ignore)})

    @classmethod
    def of_document(cls, values: Mapping[Any, Any], schema: ClassSchema) -> Legend:
        """Return the legend that a person wrote.

        Args:
            values: ``'#3C1098'``, ``3`` or ``forest`` -> a class by name or id; ``ignore`` or null
                for no truth.
            schema: The classes.

        Raises:
            ConfigError: There is no such class.
        """
        marks = {read_mark(key): class_id(value, schema) for key, value in values.items()}
        return cls(marks, written=True)

    def with_ignored(self, ignore: Sequence[Mark]) -> Legend:
        """Return the legend with more marks that mean "no truth here"."""
        return Legend({**self.classes, **dict.fromkeys(ignore)}, self.written)

    def lookup(self, schema: ClassSchema) -> Lookup:
        """Return what turns arrays of marks into class ids."""
        marks: dict[int, int] = {}
        for mark, target in self.classes.items():
            if not isinstance(mark, str):
                code = mark if isinstance(mark, int) else pack(np.array(mark, np.uint8)).item()
                marks[code] = schema.nodata if target is None else target
        keys = np.array(sorted(marks), dtype=np.int64)
        return Lookup(keys, np.array([marks[k] for k in keys], schema.dtype), schema.nodata)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Arrays of marks -> class ids.

    Args:
        keys: The numbers, or packed colours, that are known: int64 (n,), ascending.
        targets: Class id of each, ``rest`` where it means "no truth": (n,).
        rest: Id of what has no truth.
    """

    keys: NDArray[np.int64]
    targets: NDArray[Any]
    rest: int

    def __call__(self, marks: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return class ids of an array of whole numbers, and where these are not known."""
        places = np.searchsorted(self.keys, marks).clip(0, max(0, len(self.keys) - 1))
        if not len(self.keys):
            return np.full(marks.shape, self.rest, self.targets.dtype), np.ones(marks.shape, bool)
        strange = self.keys[places] != marks
        return np.where(strange, self.rest, self.targets[places]), strange


def pack(colors: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return colours, (..., 3), as numbers 0xRRGGBB.

    >>> hex(pack(np.array([60, 16, 152], np.uint8)))
    '0x3c1098'
    """
    wide = colors.astype(np.int64)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2])


def counted(marks: NDArray[Any], colored: bool) -> Counter[str]:
    """Return how often every mark occurs, named as a legend would name it."""
    found, counts = np.unique(marks, return_counts=True)
    named = (f"#{int(m):06X}" if colored else f"{m:g}" for m in found)
    return Counter(dict(zip(named, map(int, counts), strict=True)))


def plain_mark(value: Any) -> Any:
    """Return what a vector file's field holds as a mark: whole numbers as such, lists as text.

    >>> plain_mark(2.0), plain_mark(True), plain_mark([1, 2]), plain_mark(1.5)
    (2, 1, '[1, 2]', 1.5)
    """
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return value if isinstance(value, Hashable) else str(value)


def read_mark(key: Any) -> Mark:
    """Return the mark that a key of a document stands for.

    >>> read_mark("#3C1098"), read_mark("7"), read_mark("forest")
    ((60, 16, 152), 7, 'forest')
    """
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise ConfigError(f"legend: {brief(key)} is no value, no colour (#RRGGBB) and no text")
    if isinstance(key, int):
        return key
    if found := _COLOR.fullmatch(key.strip()):
        r, g, b = (int(part, 16) for part in found.groups())
        return (r, g, b)
    return int(key) if _NUMBER.fullmatch(key.strip()) else key


def class_id(value: Any, schema: ClassSchema) -> int | None:
    """Return the id of a class that is named, or None where the words mean "no truth".

    Raises:
        ConfigError: There is no such class.
    """
    for c in schema.unique:
        if value == c.name or (value == c.id and type(value) is int):
            return c.id
    if value is None or value in _WITHOUT:
        return None
    known = ", ".join(f"{c.id}: {c.name}" for c in schema.unique[:40])
    raise ConfigError(f"{brief(value)} is no class; the classes are {known}, and ignore")
