"""Medical Segmentation Decathlon: dataset.json with the pairs, imagesTr, labelsTr, imagesTs.

The format is that of Simpson et al. 2019 (arXiv 1902.09063) as its archives hold it: ``training``
lists objects of ``image`` and ``label``, ``test`` paths, ``labels`` value -> name, ``modality``
channel -> name; volumes of several channels are 4-D.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...document import brief, name_of
from ...errors import ConfigError
from ...labels import ClassInfo, ClassSchema, default_colors
from .._case import Case
from .._table import inside
from ._layout import Layout, modality_of, read_json_object

_FILE = "dataset.json"


def matches(folder: Path) -> bool:
    """Whether a folder has a dataset.json that lists its pairs."""
    path = folder / _FILE
    return path.is_file() and isinstance(read_json_object(path).get("training"), list)


def read(folder: Path) -> Layout:
    """Return what the folder holds.

    Raises:
        ConfigError: dataset.json is missing or wrong.
    """
    path = folder / _FILE
    values = read_json_object(path)
    pairs = values.get("training")
    if not isinstance(pairs, list) or not all(_is_pair(p) for p in pairs):
        raise ConfigError(f"{path}: training must list objects of image and label")
    cases = [_case(folder, p["image"], p["label"], "train") for p in pairs]
    test = [t for t in values.get("test") or () if isinstance(t, str)]
    cases += [_case(folder, image, None, "test") for image in test]
    channels = values.get("modality") or {}
    names = [str(v) for v in channels.values()] if isinstance(channels, dict) else []
    return Layout(
        cases=cases,
        schema=schema_of(values.get("labels"), str(path)),
        name=str(values.get("name") or ""),
        modality=modality_of(names),
        licence=str(values.get("licence") or values.get("license") or ""),
    )


def schema_of(labels: Any, where: str) -> ClassSchema:
    """Return the classes of ``labels``: value -> name; value 0 is the background.

    Raises:
        ConfigError: There are none, or a value is no number.
    """
    if not isinstance(labels, dict) or not labels:
        raise ConfigError(f"{where}: labels must name the classes, found {brief(labels)}")
    try:
        named = sorted((int(value), str(name)) for value, name in labels.items())
    except ValueError:
        raise ConfigError(f"{where}: labels must have numbers as keys") from None
    ids = [value for value, _ in named]
    background = 0 if 0 in ids else None
    colors = default_colors(len(ids), None if background is None else ids.index(0))
    pairs = zip(named, colors, strict=True)
    return ClassSchema(tuple(ClassInfo(i, n, c) for (i, n), c in pairs), background)


def _is_pair(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("image", "label")
    )


def _case(folder: Path, image: str, label: str | None, split: str) -> Case:
    name = name_of(image)
    path = folder / _FILE
    labels = None if label is None else str(inside(folder, label, path))
    return Case(name, (str(inside(folder, image, path)),), labels, name, split)
