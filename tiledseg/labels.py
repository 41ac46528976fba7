"""ClassSchema: what the labels of a class map mean."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """One class: its label value in the class map, its name, its colour (r, g, b) 0..255.

    Whether it is a thing, whose objects are counted, or stuff; None where nobody says.
    """

    id: int
    name: str
    color: Color
    isthing: bool | None = None


@dataclass(frozen=True, slots=True)
class ClassSchema:
    """The classes of a class map, in the order of a model's output channels.

    Args:
        classes: One entry per class. Two output channels may share an id: they are merged into
            one class of the map (the scores are not added; the arg max decides first).
        background: Id of the class that is "nothing" (0 in medical label maps), or None. It is
            a class; it is neither nodata nor turned into polygons and surfaces.

    Raises:
        ConfigError: No class, an id outside 0..65533, one id with two names, or a name that cannot
            be written.
    """

    classes: tuple[ClassInfo, ...]
    background: int | None = None

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("a class schema needs at least one class")
        names: dict[int, str] = {}
        for c in self.classes:
            if not 0 <= c.id < 65534:
                raise ConfigError(
                    f"class id {c.id} of {c.name!r} is outside 0..65533; where a map has it for "
                    "what was not measured, declare it as its nodata"
                )
            if not _is_text(c.name):
                raise ConfigError(f"the name of class {c.id}, {c.name!r:.60}, is no UTF-8 text")
            if names.setdefault(c.id, c.name) != c.name:
                raise ConfigError(f"class id {c.id} is named {names[c.id]!r} and {c.name!r}")

    @classmethod
    def of_names(cls, names: list[str], background: int | None = None) -> ClassSchema:
        """Return a schema with ids 0, 1, 2 ... and well separated colours."""
        pairs = zip(names, default_colors(len(names), background), strict=True)
        classes = tuple(ClassInfo(i, name, color) for i, (name, color) in enumerate(pairs))
        return cls(classes, background)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def unique(self) -> tuple[ClassInfo, ...]:
        """The classes of the map by ascending id, merged ones once."""
        return tuple({c.id: c for c in sorted(self.classes, key=lambda c: c.id)}.values())

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 while ids stay below 255, else uint16; the largest value is kept for nodata."""
        return np.dtype(np.uint8 if max(c.id for c in self.classes) < 255 else np.uint16)

    @property
    def nodata(self) -> int:
        """The label that means "not measured": 255 or 65535."""
        return int(np.iinfo(self.dtype).max)

    @property
    def ids(self) -> NDArray[Any]:
        """Label value of every output channel, in `dtype`."""
        return np.array([c.id for c in self.classes], dtype=self.dtype)

    def find(self, wanted: str | int, name: str) -> int:
        """Return the id of a class.

        Args:
            wanted: Its name, or its id.
            name: What has these classes, for a message.

        Raises:
            ConfigError: There is no such class, or there are several of the name.
        """
        known, text = {c.id: c.name for c in self.unique}, str(wanted)
        named = [i for i in known if known[i] == text]
        if len(named) > 1:
            ids = ", ".join(map(str, named[:40]))
            raise ConfigError(f"{name} has {len(named)} classes {text!r:.60}; give an id: {ids}")
        if named:
            return named[0]
        if text.isdecimal() and len(text) < 6 and int(text) in known:
            return int(text)
        told = ", ".join(dict.fromkeys(known.values()))
        raise ConfigError(f"{name} has no class {text!r:.60}; it has {told[:400]}")

    @property
    def things(self) -> tuple[int, ...]:
        """Ids of the things: the classes that are said to be, else all but the background."""
        stated = [c.id for c in self.unique if c.isthing]
        if any(c.isthing is not None for c in self.unique):
            return tuple(stated)
        return tuple(c.id for c in self.unique if c.id != self.background)

    def with_things(self, things: Iterable[int]) -> ClassSchema:
        """Return the schema in which some classes are things, by id, and all others stuff."""
        known = {*things}
        return replace(self, classes=tuple(replace(c, isthing=c.id in known) for c in self.classes))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` turns back into this schema."""
        return {
            "classes": [
                {"id": c.id, "name": c.name, "color": list(c.color)}
                | ({} if c.isthing is None else {"isthing": c.isthing})
                for c in self.classes
            ],
            "background": self.background,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClassSchema:
        """Return the schema `to_dict` described; ids and colours may be left out."""
        entries = values["classes"]
        background = values.get("background")
        ids = [int(entry.get("id", i)) for i, entry in enumerate(entries)]
        colors = default_colors(len(entries), ids.index(background) if background in ids else None)
        classes = []
        for i, entry in enumerate(entries):
            r, g, b = entry.get("color", colors[i])
            thing = entry.get("isthing")
            stated = None if thing is None else bool(thing)  # COCO writes 0 and 1
            classes.append(ClassInfo(ids[i], str(entry["name"]), (r, g, b), stated))
        return cls(tuple(classes), background)

    @classmethod
    def from_file(cls, values: Any) -> ClassSchema | None:
        """Return the schema that a file of anybody holds, or None where it is none."""
        try:
            schema = cls.from_dict(values)
            levels = [level for c in schema.classes for level in c.color]
        except (ConfigError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return None
        labels = [] if schema.background is None else [schema.background]
        if all(_is_whole(n, 255) for n in levels) and all(_is_whole(n, 65533) for n in labels):
            return schema
        return None


def _is_text(name: str) -> bool:
    """Whether a name can be written; a lone surrogate cannot, as from arguments of other codes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_whole(value: Any, largest: int) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return 0 <= value <= largest


def background_of(schema: ClassSchema | None, nodata: float | None) -> int | None:
    """Return the background of a class map: its schema's; without one 0, unless that is nodata.

    Args:
        schema: What the map was written with, if anything.
        nodata: Label of what was not measured, if it has one.
    """
    if schema is not None:
        return schema.background
    return None if nodata == 0 else 0


def schema_of_map(
    schema: ClassSchema | None,
    held: Iterable[int],
    nodata: float | None,
    palette: NDArray[np.uint8] | None = None,
) -> ClassSchema:
    """Return the classes of a map of any tool, those that it does not name called by their label.

    Args:
        schema: What it was written with, if anything.
        held: Labels that are in it.
        nodata: Label of what was not measured, if it has one.
        palette: Colour of every label, (n, 3), if it has one.

    Raises:
        ConfigError: A label is larger than an id may be.
    """
    background = background_of(schema, nodata)
    known = {} if schema is None else {c.id: c for c in schema.unique}
    ids = sorted({*known, *held, *(() if background is None else (background,))})
    colors = default_colors(len(ids), None if background is None else ids.index(background))
    if palette is not None:
        shown = [(int(r), int(g), int(b)) for r, g, b in palette.tolist()]
        colors = [shown[i] if i < len(shown) else c for i, c in zip(ids, colors, strict=True)]
    infos = (known.get(i, ClassInfo(i, f"class {i}", c)) for i, c in zip(ids, colors, strict=True))
    return ClassSchema(tuple(infos), background)


def default_colors(count: int, background: int | None = None) -> list[Color]:
    """Return ``count`` colours, all different up to 400; the one at place ``background`` is black.

    Hues are a golden-ratio walk around the colour wheel, so neighbours in the list differ most.
    """
    colors: list[Color] = []
    for i in range(count):
        hue = (0.33 + i * 0.618033988749895) % 1.0
        r, g, b = colorsys.hsv_to_rgb(hue, 0.65, 0.95 if i % 2 == 0 else 0.7)
        colors.append((round(r * 255), round(g * 255), round(b * 255)))
    if background is not None and background < count:
        colors[background] = (0, 0, 0)
    return colors
