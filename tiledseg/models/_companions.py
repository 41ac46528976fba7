"""Files that a graph file needs beside it: the numbers of an OpenVINO graph, or of a large ONNX."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

from ..errors import ConfigError, DamagedInput
from ._base import Format

#: An entry of ONNX's external_data (onnx.proto3: StringStringEntryProto): field 1, 8 bytes long,
#: "location", then field 2, the length of a name and the name.
_LOCATION = re.compile(rb"\x0a\x08location(?:\x12([\x01-\x7f]))?")


def companions(path: Path, found: Format) -> tuple[Path, ...]:
    """Return the files that a graph file reads besides itself; they need not be there.

    Raises:
        ConfigError: It names one outside of its folder.
    """
    if found == "openvino":
        return (path.with_suffix(".bin"),)
    if found != "onnx":
        return ()
    return tuple(path.parent / name for name in _external(path))


def require_companions(path: Path, found: Format) -> None:
    """Refuse a graph file that reads files outside of its folder, or that are not there.

    Raises:
        ConfigError: It does.
    """
    missing = next((f for f in companions(path, found) if not os.path.isfile(f)), None)
    if missing is not None:
        raise ConfigError(f"{path} needs {missing.name} beside it, which is not there")


def _external(path: Path) -> list[str]:
    names: list[str] = []
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for match in _LOCATION.finditer(content):
                if match[1] is None:
                    raise DamagedInput(f"{path} names a file in a way that no exporter writes")
                end = match.end() + match[1][0]
                name = content[match.end() : end].decode("utf-8", "replace")
                if name not in names:
                    names.append(name)
    strange = next((n for n in names if Path(n).is_absolute() or ".." in Path(n).parts), None)
    if strange is not None:
        raise ConfigError(
            f"{path} reads {strange[:80]!r}, which is outside of its folder: it is not opened"
        )
    return names
