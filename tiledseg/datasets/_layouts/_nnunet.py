"""nnU-Net's raw data: dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz.

The format is that of its documentation (MIC-DKFZ/nnUNet, documentation/dataset_format.md, version
2): ``channel_names`` (version 1: ``modality``), ``labels`` name -> value, ``file_ending``, and, if
files lie elsewhere, ``dataset`` case -> images and label. A label called ignore has no truth. Of
regions (name -> list of values) every value becomes a class of its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...document import brief
from ...errors import ConfigError
from ...labels import ClassSchema
from .._case import Case
from .._legend import Legend
from .._table import inside
from ._decathlon import schema_of
from ._layout import Layout, modality_of, read_json_object

_FILE = "dataset.json"
_CHANNEL = re.compile(r"_(\d{4})$")


def matches(folder: Path) -> bool:
    """Whether a folder has a dataset.json, and images or settings of nnU-Net's."""
    path = folder / _FILE
    if not path.is_file():
        return False
    values = read_json_object(path)
    if "channel_names" in values or "file_ending" in values:
        return True
    first = next((folder / "imagesTr").glob("*_0000.*"), None)
    return "modality" in values and first is not None


def read(folder: Path) -> Layout:
    """Return what the folder holds.

    Raises:
        ConfigError: dataset.json is missing or wrong, or there are no images.
    """
    path = folder / _FILE
    values = read_json_object(path)
    ending = values.get("file_ending", ".nii.gz")
    if not isinstance(ending, str) or not ending.startswith("."):
        raise ConfigError(f"{path}: file_ending must be like .nii.gz, found {brief(ending)}")
    schema, ignored = _classes(values.get("labels"), str(path))
    listed = values.get("dataset")
    if isinstance(listed, dict):
        cases = [_listed(folder, str(name), entry, path) for name, entry in listed.items()]
    else:
        cases = _found(folder, "Tr", ending, "train")
    cases += _found(folder, "Ts", ending, "test")
    if not cases:
        raise ConfigError(f"{folder / 'imagesTr'} must hold CASE_0000{ending}, found none")
    channels = values.get("channel_names", values.get("modality")) or {}
    names = [str(v) for v in channels.values()] if isinstance(channels, dict) else []
    return Layout(
        cases=cases,
        schema=schema,
        legend=Legend.of_schema(schema, ignored),
        name=str(values.get("name") or re.sub(r"^(Dataset|Task)\d{3}_", "", folder.name)),
        modality=modality_of(names),
        licence=str(values.get("licence") or values.get("license") or ""),
    )


def _found(folder: Path, part: str, ending: str, split: str) -> list[Case]:
    """Return the cases of imagesTr or imagesTs; the channels of a case are stacked."""
    images: dict[str, list[str]] = {}
    for file in sorted((folder / f"images{part}").glob(f"*{ending}")):
        stem = file.name.removesuffix(ending)
        if _CHANNEL.search(stem):
            images.setdefault(_CHANNEL.sub("", stem), []).append(str(file))
    cases = []
    for name, files in images.items():
        labels = folder / f"labels{part}" / f"{name}{ending}"
        there = str(labels) if labels.is_file() else None
        cases.append(Case(name, tuple(files), there, name, split))
    return cases


def _listed(folder: Path, name: str, entry: Any, path: Path) -> Case:
    images = entry.get("images") if isinstance(entry, dict) else None
    label = entry.get("label") if isinstance(entry, dict) else None
    if not isinstance(images, list) or not images or not isinstance(label, str):
        raise ConfigError(f"{path}: dataset.{name:.60} must name images and label")
    files = tuple(str(inside(folder, str(image), path)) for image in images)
    return Case(name, files, str(inside(folder, label, path)), name, "train")


def _classes(labels: Any, where: str) -> tuple[ClassSchema, list[int]]:
    """Return the classes, and the values without truth."""
    if not isinstance(labels, dict) or not labels:
        raise ConfigError(f"{where}: labels must name the classes, found {brief(labels)}")
    named: dict[str, str] = {}
    ignored: list[int] = []
    for name, value in labels.items():
        if _is_number(name) and isinstance(value, str):  # version 1: value -> name
            named[str(name)] = value
            continue
        values = value if isinstance(value, list) else [value]
        if not values or not all(type(v) is int for v in values):
            raise ConfigError(f"{where}: labels.{name:.60} must be a number, found {brief(value)}")
        if name == "ignore":
            ignored += values
        elif len(values) == 1:
            named[str(values[0])] = str(name)
        else:  # a region: its values have no names of their own, but by other regions
            for one in values:
                named.setdefault(str(one), f"label {one}")
    return schema_of(named, where), ignored


def _is_number(text: Any) -> bool:
    return isinstance(text, str) and text.isdigit()
