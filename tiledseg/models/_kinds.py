"""What a file with a network is, told by its content and never by running it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Literal

#: A graph in a format of `ModelCard`; or weights that need an architecture: tensors by name, as
#: ``torch.save`` writes them (``state_dict``: a zip archive or, until torch 1.5, a bare pickle), or
#: as safetensors.
Kind = Literal["onnx", "openvino", "torchscript", "pt2", "state_dict", "safetensors"]

#: How torch's first own format begins: a pickled magic number (torch/serialization.py).
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
#: Endings of files that cannot be told by their first bytes.
_BY_NAME: dict[str, Kind] = {".onnx": "onnx", ".safetensors": "safetensors"}
#: The first element of an OpenVINO graph, after the XML declaration.
_NET = re.compile(rb"\s*(<\?xml[^>]*>\s*)?<net[\s>]")


def kind_of(path: Path) -> Kind | None:
    """Return what a file with a network is, or None.

    ``.onnx`` and ``.safetensors`` are told by their name; an OpenVINO graph by its first element;
    what torch writes by what is inside: an archive with ``code/`` and ``constants.pkl`` is
    TorchScript, one with ``models/*.json`` a program of torch.export, one with ``data.pkl`` alone
    tensors by name.
    """
    if path.suffix in _BY_NAME:
        return _BY_NAME[path.suffix] if path.is_file() else None
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            return None
        with path.open("rb") as file:
            first = file.read(1000)
        if path.suffix == ".xml":
            return "openvino" if _NET.match(first) else None
        if first.startswith(_OLD_TORCH):
            return "state_dict"
        if not first.startswith(b"PK"):
            return None
        with zipfile.ZipFile(path) as archive:
            return _kind_of_archive({inner(name) for name in archive.namelist()})
    # a zip made for a later version of the format is not implemented
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return None


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive, as far as its end tells."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # an archive of several disks, or what looks like one
        return True


def _kind_of_archive(names: set[str]) -> Kind | None:
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "torchscript"
    if any(name.startswith("models/") and name.endswith(".json") for name in names):
        return "pt2"
    if "serialized_exported_program.json" in names:  # torch.export before torch 2.8
        return "pt2"
    return "state_dict" if "data.pkl" in names else None


def inner(name: str) -> str:
    """Return a name inside an archive of torch without the archive's own name in front of it."""
    return name.partition("/")[2] or name
