"""Folders laid out as well-known datasets are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, get_args

from ...errors import ConfigError
from . import _cityscapes, _coco, _decathlon, _nnunet, _scannet, _voc
from ._coco import read_file as read_coco_layout
from ._layout import Layout

__all__ = ["Layout", "LayoutName", "find_layout", "read_coco_layout", "read_layout"]


class _Reader(Protocol):
    """A module that knows a layout."""

    def matches(self, folder: Path) -> bool: ...

    def read(self, folder: Path) -> Layout: ...


LayoutName = Literal["voc", "coco", "cityscapes", "scannet", "decathlon", "nnunet"]
#: nnU-Net's before the Decathlon's: version 1 of its dataset.json lists the pairs, too.
_READERS: dict[LayoutName, _Reader] = {
    "nnunet": _nnunet,
    "decathlon": _decathlon,
    "voc": _voc,
    "cityscapes": _cityscapes,
    "scannet": _scannet,
    "coco": _coco,
}


def find_layout(folder: Path) -> Layout:
    """Return what a folder holds, its layout told by its files.

    Raises:
        ConfigError: It is laid out in no way that is known, or a file is wrong.
    """
    for reader in _READERS.values():
        if reader.matches(folder):
            return reader.read(folder)
    raise ConfigError(
        f"folder {folder} is laid out in no way that is known ({', '.join(get_args(LayoutName))}) "
        "and holds no dataset.yaml: write one, with the keys classes and cases"
    )


def read_layout(name: LayoutName, folder: Path) -> Layout:
    """Return what a folder of a named layout holds.

    Raises:
        ConfigError: A file is missing or wrong.
    """
    if not folder.is_dir():
        raise ConfigError(f"root: there is no folder {folder}")
    return _READERS[name].read(folder)
