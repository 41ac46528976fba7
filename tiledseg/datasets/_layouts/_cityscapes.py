"""Cityscapes: leftImg8bit and gtFine, by split and city.

Layout, ids and colours are those of the Cityscapes scripts (Cordts et al. 2016; ``labels.py``): the
19 classes that are evaluated keep their ids, the others have no truth. Cities are the groups. The
labels of the test split are not public: the files there hold nothing.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError
from ...labels import ClassInfo, ClassSchema
from .._case import Case
from .._legend import Legend
from ._layout import Layout

_CLASSES = (
    ClassInfo(7, "road", (128, 64, 128)),
    ClassInfo(8, "sidewalk", (244, 35, 232)),
    ClassInfo(11, "building", (70, 70, 70)),
    ClassInfo(12, "wall", (102, 102, 156)),
    ClassInfo(13, "fence", (190, 153, 153)),
    ClassInfo(17, "pole", (153, 153, 153)),
    ClassInfo(19, "traffic light", (250, 170, 30)),
    ClassInfo(20, "traffic sign", (220, 220, 0)),
    ClassInfo(21, "vegetation", (107, 142, 35)),
    ClassInfo(22, "terrain", (152, 251, 152)),
    ClassInfo(23, "sky", (70, 130, 180)),
    ClassInfo(24, "person", (220, 20, 60)),
    ClassInfo(25, "rider", (255, 0, 0)),
    ClassInfo(26, "car", (0, 0, 142)),
    ClassInfo(27, "truck", (0, 0, 70)),
    ClassInfo(28, "bus", (0, 60, 100)),
    ClassInfo(31, "train", (0, 80, 100)),
    ClassInfo(32, "motorcycle", (0, 0, 230)),
    ClassInfo(33, "bicycle", (119, 11, 32)),
)
_KNOWN = (*range(34), 255)  # 255 is how -1, the licence plate, is stored
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_IMAGE = "_leftImg8bit.png"


def matches(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    return (folder / "leftImg8bit").is_dir()


def read(folder: Path) -> Layout:
    """Return what the folder holds.

    Raises:
        ConfigError: There are no images.
    """
    schema = ClassSchema(_CLASSES)
    images = sorted((folder / "leftImg8bit").glob(f"*/*/*{_IMAGE}"))
    cases = [_case(folder, image) for image in images if image.parts[-3] in _SPLITS]
    if not cases:
        raise ConfigError(f"{folder / 'leftImg8bit'} must hold */CITY/*{_IMAGE}, found none")
    others = [value for value in _KNOWN if value not in schema.ids]
    return Layout(cases, schema, Legend.of_schema(schema, others), "Cityscapes", "photo")


def _case(folder: Path, image: Path) -> Case:
    split, city = image.parts[-3:-1]
    name = image.name.removesuffix(_IMAGE)
    labels = folder / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
    there = labels.is_file() and split != "test"
    return Case(name, (str(image),), str(labels) if there else None, city, _SPLITS[split])
