"""Pascal VOC segmentation: JPEGImages, SegmentationClass, ImageSets/Segmentation.

Layout and colours are those of the development kit (Everingham et al. 2010; its
``VOClabelcolormap`` spreads the bits of an index over the high bits of red, green and blue). Masks
have a palette; 255 is the border of objects and has no truth.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError
from ...labels import ClassInfo, ClassSchema, Color
from .._case import Case
from .._legend import Legend
from ._layout import Layout, read_lines

_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
    *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_LISTS = Path("ImageSets", "Segmentation")
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def matches(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    return (folder / "SegmentationClass").is_dir() and (folder / "JPEGImages").is_dir()


def read(folder: Path) -> Layout:
    """Return what the folder holds.

    Raises:
        ConfigError: It has no lists of images.
    """
    split_of: dict[str, str] = {}
    for file, split in _SPLITS.items():
        path = folder / _LISTS / f"{file}.txt"
        if path.is_file():
            split_of |= dict.fromkeys(read_lines(path), split)
    if not split_of:
        told = ", ".join(f"{name}.txt" for name in _SPLITS)
        raise ConfigError(f"{folder / _LISTS} must hold one of {told}, found none that names cases")
    schema = ClassSchema(
        tuple(ClassInfo(i, name, _color(i)) for i, name in enumerate(_NAMES)), background=0
    )
    cases = [_case(folder, name, split) for name, split in split_of.items()]
    return Layout(cases, schema, Legend.of_schema(schema, (255,)), "Pascal VOC", "photo")


def _case(folder: Path, name: str, split: str) -> Case:
    mask = folder / "SegmentationClass" / f"{name}.png"
    image = folder / "JPEGImages" / f"{name}.jpg"
    return Case(name, (str(image),), str(mask) if mask.is_file() else None, name, split)


def _color(index: int) -> Color:
    """Return the colour of an index in VOC's palette.

    >>> _color(1), _color(20)
    ((128, 0, 0), (0, 64, 128))
    """
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return (color[0], color[1], color[2])
