"""Which map goes with which truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...datasets import Case, Dataset, match_files, read_dataset
from ...document import located, read_rows, read_text
from ...errors import ConfigError
from ...io import Source
from ...labels import ClassSchema
from .._inputs import NAME, name_of


@dataclass(frozen=True)
class Pair:
    """A case: what is measured, and against what.

    Args:
        name: What it is called.
        found: Class map: a name, an array or a source.
        truth: Its truth, likewise, or a function that opens it.
        schema: Its classes, where they are known beforehand.
        truth_name: What to call the truth; "": as it is named.
        image: What both are labels of, for pictures: a name, an array, a source or a function that
            opens it; None: not known.
    """

    name: str
    found: Any
    truth: Any
    schema: ClassSchema | None = None
    truth_name: str = ""
    image: Any = None


def collect_pairs(found: Any, truth: Any, split: str | None = None) -> list[Pair]:
    """Return the cases that a map and a truth stand for.

    Args:
        found: A class map; a name with ``{name}`` for many; a table (.csv) with columns map and
            truth; or a list.
        truth: Likewise; None for a table; or a dataset (a YAML, or a folder of one), whose cases
            have their maps by ``{name}``.
        split: Of a dataset, only the cases of this split; None: those that have a map.

    Raises:
        ConfigError: There is none, or the two do not stand for as many.
    """
    if _is_dataset(truth):
        return _of_dataset(found, Path(truth), split)
    if split is not None:
        raise ConfigError(f"split {split!r:.40} is one of a dataset: give a dataset as the truth")
    if isinstance(found, str | Path) and str(found).lower().endswith(".csv"):
        if truth is not None:
            raise ConfigError(f"{found} names maps and truths both; leave out --truth")
        return _table(Path(found))
    if truth is None:
        raise ConfigError(
            "there is nothing to measure against: give labels (--truth), or points with a truth "
            "(--points)"
        )
    if isinstance(found, list | tuple) or isinstance(truth, list | tuple):
        return _lists(found, truth)
    if isinstance(found, str | Path) and NAME in str(found):
        return _named(str(found), str(truth))
    if isinstance(truth, str | Path) and NAME in str(truth):
        raise ConfigError(
            f"truth {truth} stands for many: put {NAME} into the maps' name, too, like "
            f"maps/{NAME}.tif"
        )
    name = name_of(str(found)) if isinstance(found, str | Path) else "map"
    return [Pair(name, found, truth)]


def with_images(pairs: list[Pair], image: Any) -> list[Pair]:
    """Return cases with the images that they are labels of.

    Args:
        pairs: The cases.
        image: A name, for many with ``{name}``; an array or a source; None: those that a dataset
            names.

    Raises:
        ConfigError: It is one for many, or there is no such file.
    """
    if image is None:
        return pairs
    named = isinstance(image, str | Path)
    if len(pairs) > 1 and not (named and NAME in str(image)):
        raise ConfigError(
            f"image {image!s:.80} is one for {len(pairs)} maps: put {NAME} into its name, like "
            f"images/{NAME}.tif"
        )
    made = [
        replace(pair, image=str(image).replace(NAME, pair.name) if named else image)
        for pair in pairs
    ]
    absent = [
        p.image for p in made if named and "://" not in p.image and not os.path.exists(p.image)
    ]
    if absent:
        raise ConfigError(f"there is no image {absent[0]} to draw outlines on")
    return made


def _is_dataset(truth: Any) -> bool:
    if not isinstance(truth, str | Path) or "://" in str(truth):
        return False
    place = Path(truth)
    inside = any((place / name).is_file() for name in ("dataset.yaml", "dataset.json"))
    return place.suffix.lower() in (".yaml", ".yml") or inside


def _of_dataset(found: Any, truth: Path, split: str | None) -> list[Pair]:
    """Return the labelled cases of a dataset with their maps."""
    if not isinstance(found, str | Path) or NAME not in str(found):
        raise ConfigError(
            f"truth {truth} is a dataset: name the maps of its cases with {NAME}, like "
            f"maps/{NAME}.tif"
        )
    dataset = read_dataset(truth)
    if split is not None:
        dataset = dataset.split(split)
    pairs = [
        Pair(
            case.name,
            str(found).replace(NAME, case.name),
            partial(_open_labels, dataset, case),
            dataset.schema,
            str(case.labels),
            partial(dataset.open_image, case),
        )
        for case in dataset.labelled
    ]
    there = [pair for pair in pairs if os.path.exists(pair.found)]
    if not there:
        raise ConfigError(
            f"none of the {len(pairs)} labelled cases of {truth} has a map: there is no "
            f"{pairs[0].found}"
            if pairs
            else f"no case of {truth} has labels"
        )
    return there if split is None else pairs


def _open_labels(dataset: Dataset, case: Case) -> Source:
    """Open the labels of a case alone."""
    pair = dataset.open(case)
    pair.image.close()
    return pair.labels


def _lists(found: Sequence[Any], truth: Sequence[Any]) -> list[Pair]:
    both = isinstance(found, list | tuple) and isinstance(truth, list | tuple)
    if not both or len(found) != len(truth) or not found:
        sizes = [len(x) if isinstance(x, list | tuple) else 1 for x in (found, truth)]
        raise ConfigError(f"{sizes[0]} maps and {sizes[1]} truths: give one truth for every map")
    names = [
        name_of(str(f)) if isinstance(f, str | Path) else f"case {i}"
        for i, f in enumerate(found, 1)
    ]
    return _unlike([Pair(*parts) for parts in zip(names, found, truth, strict=True)])


def _named(found: str, truth: str) -> list[Pair]:
    """Return the maps of a pattern with their truths, and truths that no map was made for."""
    maps, truths = _matches(found), _matches(truth) if NAME in truth else None
    if truths is None:
        raise ConfigError(
            f"truth {truth} is one for many maps: put {NAME} into its name, like labels/{NAME}.tif"
        )
    if not maps:
        raise ConfigError(f"there is no file that matches {found}")
    pairs = [Pair(n, maps[n], truths.get(n, truth.replace(NAME, n))) for n in sorted(maps)]
    missing = [Pair(n, found.replace(NAME, n), truths[n]) for n in sorted(truths) if n not in maps]
    return pairs + missing


def _matches(pattern: str) -> dict[str, str]:
    """Return the files of a pattern by what stands for ``{name}`` in them."""
    return {found["name"]: path for path, found in match_files(pattern, ("name",))}


def _table(path: Path) -> list[Pair]:
    told = f"table {path}"
    pairs = []
    for where, row in read_rows(read_text(path, told, most=None), told, ("map", "truth")):
        found, truth = (row.get(key, "") for key in ("map", "truth"))
        if not found or not truth:
            raise ConfigError(f"{where}: it must name a map and a truth")
        found_at, truth_at = (located(path.parent, text, told) for text in (found, truth))
        pairs.append(Pair(row.get("name") or name_of(found), found_at, truth_at))
    if not pairs:
        raise ConfigError(f"{told} names no map")
    return _unlike(pairs)


def _unlike(pairs: list[Pair]) -> list[Pair]:
    """Return cases of different names: equal ones are numbered."""
    seen: dict[str, int] = {}
    made = []
    for pair in pairs:
        count = seen[pair.name] = seen.get(pair.name, 0) + 1
        name = pair.name if count == 1 else f"{pair.name} ({count})"
        made.append(Pair(name, pair.found, pair.truth))
    return made
