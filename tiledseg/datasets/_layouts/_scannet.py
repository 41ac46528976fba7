"""ScanNet frames: a folder per scan with color and label (scannet_frames_25k).

Layout and classes are those of the ScanNet benchmark (Dai et al. 2017; its documentation of 2-D
semantic labels): labels are 8-bit NYU40 ids, 20 of which are evaluated; the others have no truth.
Scans of one room (``scene0000_00``, ``scene0000_01``) are one group.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import ConfigError
from ...labels import ClassInfo, ClassSchema, default_colors
from .._case import Case
from .._legend import Legend
from ._layout import Layout, read_lines

_NAMES = {
    1: "wall", 2: "floor", 3: "cabinet", 4: "bed", 5: "chair", 6: "sofa", 7: "table", 8: "door",
    9: "window", 10: "bookshelf", 11: "picture", 12: "counter", 14: "desk", 16: "curtain",
    24: "refrigerator", 28: "shower curtain", 33: "toilet", 34: "sink", 36: "bathtub",
    39: "other furniture",
}  # fmt: skip
_SCAN = re.compile(r"(scene\d{4})_\d{2}")
#: Lists of scans, of the ScanNet repository, beside the scans or in the folder above.
_LISTS = {"scannetv2_train.txt": "train", "scannetv2_val.txt": "validation"}


def matches(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    return any((scan / "color").is_dir() for scan in folder.glob("scene????_??"))


def read(folder: Path) -> Layout:
    """Return what the folder holds.

    Raises:
        ConfigError: There are no frames.
    """
    split_of: dict[str, str] = {}
    for name, split in _LISTS.items():
        for path in (folder.parent / name, folder / name):
            if path.is_file():
                split_of |= dict.fromkeys(read_lines(path), split)
    scans = [scan for scan in sorted(folder.iterdir()) if _SCAN.fullmatch(scan.name)]
    cases = [
        _case(scan, frame, split_of.get(scan.name))
        for scan in scans
        for frame in sorted((scan / "color").glob("*.jpg"))
    ]
    if not cases:
        raise ConfigError(f"{folder} must hold sceneNNNN_NN/color/*.jpg, found none")
    colors = default_colors(len(_NAMES))
    pairs = zip(_NAMES.items(), colors, strict=True)
    schema = ClassSchema(tuple(ClassInfo(i, n, c) for (i, n), c in pairs))
    others = [value for value in range(41) if value not in _NAMES]
    return Layout(cases, schema, Legend.of_schema(schema, others), "ScanNet", "photo")


def _case(scan: Path, frame: Path, split: str | None) -> Case:
    labels = scan / "label" / f"{frame.stem}.png"
    room = scan.name.partition("_")[0]
    there = str(labels) if labels.is_file() else None
    return Case(f"{scan.name}_{frame.stem}", (str(frame),), there, room, split)
