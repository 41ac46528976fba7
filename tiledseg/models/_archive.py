"""Archives that torch wrote, read by Python's zipfile and handed to torch as a copy.

torch reads zip files with a library of its own. What was looked at here and what is read there
must be the same, whatever a crafted file does with names and directories, so torch gets a new
archive of the entries that were read.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from ..errors import DamagedInput
from ._kinds import inner

#: Alignment of an entry's first byte, as torch writes it (caffe2/serialize/inline_container.h).
_ALIGNED = 64
#: Bytes beyond any network's code.
_CODE = 64 * 2**20


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the entries of an archive by their names, without the archive's own name in front.

    Raises:
        DamagedInput: It is no archive, is damaged, or none that torch would write: with names that
            leave it or come twice, or with more in it than the file has bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check(path, [entry.filename for entry in entries])
            if sum(entry.file_size for entry in entries) > _limit(path):
                raise DamagedInput(
                    f"{path} unpacks to far more than its own size: it is none of torch's archives"
                )
            return {inner(e.filename): archive.read(e) for e in entries if not e.is_dir()}
    except DamagedInput:
        raise
    # zipfile lets out errors of many kinds on crafted files
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} is not a usable archive of torch: {told}") from None


def _limit(path: Path) -> int:
    """Return the most bytes an archive may unpack to: torch compresses code, but no tensors."""
    return 2 * path.stat().st_size + _CODE


def _check(path: Path, names: list[str]) -> None:
    strange = next((n for n in names if n.startswith("/") or ".." in n or "\\" in n), None)
    if strange is not None:
        raise DamagedInput(f"{path} holds a file named {strange[:60]!r}: it is none of torch's")
    inside = [inner(name) for name in names]
    if len(set(inside)) < len(inside):
        raise DamagedInput(f"{path} holds two files of one name: it is none of torch's archives")


def packed(entries: dict[str, bytes]) -> io.BytesIO:
    """Return an archive of some entries, as torch reads it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(f"model/{name}")
            used = buffer.tell() + 30 + len(entry.filename.encode())
            # An extra field: two bytes of name, two of length, then as many as are missing.
            missing = (-used - 4) % _ALIGNED
            entry.extra = b"FB" + missing.to_bytes(2, "little") + b"Z" * missing
            archive.writestr(entry, content)
    buffer.seek(0)
    return buffer
