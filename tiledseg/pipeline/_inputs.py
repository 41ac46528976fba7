"""What the images of a batch are: patterns, lists, STAC items and DICOM studies, by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Any

from .. import document, io
from ..config import RunConfig
from ..errors import ConfigError
from ..io import is_zarr
from ._lists import Entry, read_list
from ._names import outputs_of, work_folder
from ._stac import read_items

#: What stands for an input's name in the names of its outputs.
NAME = "{name}"
_LISTS = (".csv", ".json")
#: Outputs besides the class map that are named in the settings.
_MORE = ("scores", "polygons", "surfaces")
#: What may be one for all inputs, too.
_COMMON = ("work", "log")


@dataclass(frozen=True)
class Input:
    """One run of a batch.

    Args:
        name: What it is called.
        image: File, folder or URL; several are stacked as channels.
        out: Class map to write.
        series: Which series of a DICOM folder.
        channels: Which channels of the image.
    """

    name: str
    image: str | list[str]
    out: Path
    series: str | None = None
    channels: tuple[int | str, ...] | None = None

    def config(self, base: RunConfig) -> RunConfig:
        """Return the config of this run alone."""
        named = {key: getattr(base.output, key) for key in (*_MORE, *_COMMON)}
        filled = {key: value and value.replace(NAME, self.name) for key, value in named.items()}
        changes = {
            "image": self.image,
            "out": str(self.out),
            "input": replace(base.input, series=self.series, channels=self.channels),
            "output": replace(base.output, **filled),
        }
        return base.model_copy(update=changes)


def stands_for_many(image: str) -> bool:
    """Whether an image argument names more than one image."""
    if "://" in image or image.startswith("/vsi"):
        return False
    if image.lower().endswith(_LISTS):
        return True
    if os.path.exists(image):
        return _holds_studies(image)
    return any(character in image for character in "*?[")


def _holds_studies(image: str) -> bool:
    """Whether a folder holds DICOM in its folders only."""
    if not os.path.isdir(image) or is_zarr(image):
        return False
    folders = next(os.walk(image), ("", [], []))[1]
    first = next(io.find_series(Path(image)), None) if folders else None
    return first is not None and first.folder != Path(image)


def refuse_many(image: Any, out: str | Path | None) -> None:
    """Refuse many images where one is wanted.

    Raises:
        ConfigError: An image stands for many, or the output is named as for many.
    """
    images = image if isinstance(image, list | tuple) else [image]
    many = [str(i) for i in images if isinstance(i, str | Path) and stands_for_many(str(i))]
    if many:
        raise ConfigError(
            f"{many[0]} stands for many images, each of which needs an output of its own: segment "
            f"them with an output that holds {NAME}, like maps/{NAME}.tif"
        )
    if out is not None and NAME in str(out):
        raise ConfigError(
            f"output {out} holds {NAME}, which is for many images: use segment_many, or name a file"
        )


def collect_inputs(
    images: Sequence[Any], base: RunConfig, channels: tuple[str, ...]
) -> tuple[Input, ...]:
    """Return the runs that the image arguments stand for.

    Args:
        images: A path, URL, pattern, list file or folder each, or a list of paths to stack.
        base: The settings; ``out`` holds `NAME`.
        channels: Names of the model's channels, by which assets of STAC items are chosen.

    Raises:
        ConfigError: There is nothing, or two outputs would have one name.
    """
    for key, value in (("out", base.out), *((k, getattr(base.output, k)) for k in _MORE)):
        if value is not None and NAME not in value:
            raise ConfigError(
                f"{key} {value}: every image needs an output of its own; put {NAME} into it, like "
                f"maps/{NAME}.tif"
            )
    inputs: list[Input] = []
    for image in images:
        found = [_input(entry, base) for entry in _entries(image, base, channels)]
        inputs += _without_outputs(found) if _is_pattern(image) else found
    if not inputs:
        raise ConfigError("no image was given")
    _refuse_clashes(inputs, base)
    return tuple(inputs)


def batch_folder(out: str) -> Path:
    """Return the folder of a batch's own report."""
    return Path(out.partition(NAME)[0] + "x").parent / "batch.report"


# --------------------------------------------------------------------- kinds of arguments


def _entries(image: Any, base: RunConfig, channels: tuple[str, ...]) -> Iterable[Entry]:
    """Return what one argument stands for."""
    if isinstance(image, list | tuple) and image:
        return [Entry(tuple(map(str, image)))]
    if not isinstance(image, str | Path):
        raise ConfigError(
            f"{type(image).__name__} has no name: give paths, patterns and lists of paths, or "
            "segment arrays one by one"
        )
    text, path = str(image), Path(image)
    if not stands_for_many(text) and not _may_hold_series(text, base):
        return [Entry((text,))]
    if text.lower().endswith(".csv"):
        return read_list(path)
    if text.lower().endswith(".json"):
        wanted = base.input.channels or channels
        return read_items(path, wanted) or read_list(path)
    return _series(path) if path.is_dir() else _matches(text)


def _may_hold_series(text: str, base: RunConfig) -> bool:
    """Whether a folder is to be looked through for DICOM series."""
    return base.input.series is None and Path(text).is_dir() and not is_zarr(text)


def _matches(pattern: str) -> list[Entry]:
    found = sorted(glob(pattern, recursive=True))
    if not found:
        raise ConfigError(f"there is no file that matches {pattern}")
    return [Entry((path,)) for path in found]


def _series(folder: Path) -> list[Entry]:
    found = list(io.find_series(folder))
    if not found:
        raise ConfigError(
            f"folder {folder} holds no DICOM series of two slices or more; for images of another "
            f"kind give a pattern, like {folder}/*.tif"
        )
    entries = []
    for series in found:
        inside = series.folder.relative_to(folder).as_posix()
        name = folder.resolve().name if inside == "." else inside
        name += f"-{series.label}" if series.label else ""
        entries.append(Entry((str(series.folder),), name, series=series.uid))
    return entries


# --------------------------------------------------------------------- names


def name_of(image: str) -> str:
    """Return an image's name without folder and suffixes; all of a folder's."""
    if Path(image).is_dir() and not is_zarr(image):
        return PurePosixPath(image).name or Path(image).resolve().name
    return document.name_of(image)


def _input(entry: Entry, base: RunConfig) -> Input:
    name = name_of(entry.images[0]) if entry.name is None else entry.name
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or not name.isprintable():
        raise ConfigError(
            f"{name!r} cannot be the name of {entry.images[0]}: it becomes part of the names of "
            "outputs; use letters, digits and signs"
        )
    out = entry.out or (base.out or "").replace(NAME, name)
    image = entry.images[0] if len(entry.images) == 1 else list(entry.images)
    series = base.input.series if entry.series is None else entry.series
    channels = base.input.channels if entry.channels is None else entry.channels or None
    return Input(name, image, Path(out), series, channels)


def _is_pattern(image: Any) -> bool:
    text = str(image)
    listed = text.lower().endswith((".csv", ".json")) or Path(text).is_dir()
    return isinstance(image, str | Path) and stands_for_many(text) and not listed


def _without_outputs(inputs: list[Input]) -> list[Input]:
    """Leave out what a pattern matched only because an earlier run of the batch wrote it."""
    made = {one.out.resolve() for one in inputs}
    kept = [one for one in inputs if isinstance(one.image, list) or not _lies_in(one.image, made)]
    return kept or inputs


def _lies_in(image: str, places: set[Path]) -> bool:
    return "://" not in image and Path(image).resolve() in places


def _refuse_clashes(inputs: list[Input], base: RunConfig) -> None:
    """Refuse two inputs of one name or output, and outputs that are images."""
    sources = {Path(p).resolve() for one in inputs for p in _images(one) if "://" not in p}
    taken: dict[Path | str, Input] = {}
    for one in inputs:
        config = one.config(base)
        written = [o.path for o in outputs_of(config) if o.setting != "output.log"]
        work = str(work_folder(one.out, config.output.work))
        keys: list[tuple[Path | str, Path | str]] = [
            *((path.resolve(), path) for path in (one.out, *written)),
            (work, work),
        ]
        for place, told in keys:
            other = taken.setdefault(place, one)
            if other is not one:
                raise ConfigError(
                    f"{_told(other)} and {_told(one)} would both be written as {told}: give them "
                    "names of their own in a list (.csv with the columns image and name)"
                )
            if place in sources:
                raise ConfigError(f"{told} is one of the images; choose another name for outputs")
    own = batch_folder(base.out or "").resolve()
    if own in taken:
        raise ConfigError(
            f"{_told(taken[own])} would have its report in {own}, which is the batch's: name it "
            "otherwise in a list (.csv with the columns image and name)"
        )


def _images(one: Input) -> list[str]:
    return [one.image] if isinstance(one.image, str) else one.image


def _told(one: Input) -> str:
    return ", ".join(_images(one)) + (f" (series {one.series})" if one.series else "")
