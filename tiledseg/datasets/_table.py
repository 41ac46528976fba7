"""Lists of cases: a table (.csv), entries of a document, or patterns of file names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import escape, glob
from pathlib import Path, PurePosixPath
from typing import Any

from ..document import located, name_of, read_rows, read_text
from ..errors import ConfigError
from ._case import Case


def place(folder: Path, text: str) -> str:
    """Return where a path or URL of a dataset leads: from its folder, variables filled in.

    Raises:
        ConfigError: A variable is not set, or it is neither path nor URL.
    """
    expanded = os.path.expandvars(text)
    if "${" in expanded:
        name = expanded.partition("${")[2].partition("}")[0]
        raise ConfigError(f"{text!r:.120} names the variable {name:.40}, which is not set; set it")
    return located(folder, expanded, "dataset")


def inside(folder: Path, name: str, where: object) -> Path:
    """Return the file that an annotation file names: in a folder, or below it.

    Such files come with archives of others, who could have any file of this machine opened.

    Args:
        folder: The folder.
        name: The name.
        where: What to call the annotation file.

    Raises:
        ConfigError: It leads out of the folder.
    """
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise ConfigError(
            f"{where} names {name!r:.120}, which leads out of {folder}; move the file there, or "
            "list images and labels in a YAML or table of your own"
        )
    return folder / pure


def read_table(path: Path) -> list[Case]:
    """Return the cases of a table: columns image, labels and, if wanted, name, group and split.

    Relative paths start at the table's folder; several images of a case, to be stacked as
    channels, are separated by semicolons.

    Raises:
        ConfigError: It cannot be read, or a row names no image.
    """
    name = f"table {path}"
    rows = read_rows(read_text(path, name), name, ("image",))
    return [case_of(path.parent, row, where) for where, row in rows]


def case_of(folder: Path, entry: dict[str, Any], where: str) -> Case:
    """Return the case of a row or an entry.

    Args:
        folder: Where relative paths start.
        entry: ``image``, a path, several with semicolons, or a list of them; ``labels``; ``name``;
            ``group``, by default the name; ``split``.
        where: What to call the entry in messages.

    Raises:
        ConfigError: It names no image.
    """
    given = entry.get("image")
    images = given.split(";") if isinstance(given, str) else list(given or ())
    if not images or not all(isinstance(i, str) and i.strip() for i in images):
        raise ConfigError(f"{where}: image must be a path, found {given!r:.60}")
    places = tuple(place(folder, image.strip()) for image in images)
    name = entry.get("name") or name_of(places[0])
    labels = entry.get("labels")
    return Case(
        name=str(name),
        images=places,
        labels=None if labels is None else place(folder, labels.strip()),
        group=str(entry.get("group") or name),
        split=entry.get("split"),
    )


@dataclass(frozen=True, slots=True)
class Pattern:
    """Cases told by the names of their files.

    ``{name}``, ``{group}`` and ``{split}`` stand for a part of a file's or folder's name; the same
    placeholder twice stands for the same text. A case is called by its ``{name}``; where two would
    share it, by ``{group}_{name}``.

    Args:
        images: Where the images are, as ``{group}/images/{name}.jpg``.
        labels: Where the labels are, of the same placeholders.
    """

    images: str
    labels: str | None

    def cases(self, folder: Path) -> list[Case]:
        """Return the cases, by name.

        Raises:
            ConfigError: No image matches, or the patterns do not hold ``{name}``.
        """
        pattern = place(folder, self.images)
        if "{name}" not in pattern:
            raise ConfigError(f"cases.images: {self.images!r:.120} must hold {{name}}")
        known = set(re.findall(r"\{(\w+)\}", self.images))
        if unknown := (known | set(re.findall(r"\{(\w+)\}", self.labels or ""))) - known:
            raise ConfigError(f"cases.labels: {{{unknown.pop()}}} is not in cases.images")
        found = [self._case(folder, path, match) for path, match in match_files(pattern)]
        if not found:
            raise ConfigError(f"cases.images: there is no file like {pattern}")
        return _distinct(found)

    def _case(self, folder: Path, path: str, parts: dict[str, str]) -> Case:
        labels = self.labels
        for key, text in parts.items():
            labels = labels and labels.replace(f"{{{key}}}", text)
        name, group = parts["name"], parts.get("group")
        where = None if labels is None else place(folder, labels)
        if where is not None and "://" not in where and not os.path.exists(where):
            where = None
        return Case(name, (path,), where, group or name, parts.get("split"))


def match_files(
    pattern: str, placeholders: Sequence[str] = ("name", "group", "split")
) -> list[tuple[str, dict[str, str]]]:
    """Return the files and folders that match a pattern, sorted, and what placeholders stand for.

    Args:
        pattern: With ``{name}``, which stands for a part of a file's or folder's name; twice, for
            the same text. Nothing else in it stands for anything.
        placeholders: Which there may be.
    """
    wanted, stars, seen = "", "", set[str]()
    # What is split off by a group stands at every odd place.
    for i, part in enumerate(re.split(rf"\{{({'|'.join(placeholders)})\}}", pattern)):
        if i % 2 == 0:
            wanted, stars = wanted + re.escape(part), stars + escape(part)
        else:
            wanted += f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+?)"
            stars += "*"
            seen.add(part)
    matcher = re.compile(wanted)
    found = [(path, matcher.fullmatch(path)) for path in sorted(glob(stars))]
    return [(path, match.groupdict()) for path, match in found if match and os.path.exists(path)]


def _distinct(cases: list[Case]) -> list[Case]:
    """Put the group in front of the name of every case where two would share a name."""
    if max(Counter(c.name for c in cases).values()) == 1:
        return cases
    return [replace(c, name=f"{c.group}_{c.name}") for c in cases]
