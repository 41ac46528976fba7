"""Where MetaImage and NRRD headers say the samples are.

ITK (SimpleITK 2.5.7) returns wrong samples where the compressed data of a MetaImage are damaged,
and prints to stderr past every handler where they are short. So both are checked before it reads.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from ...errors import DamagedInput

#: Bytes decompressed at a time.
_PIECE = 2**20
#: No header is longer; what goes on has no end of header.
_HEADER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class MetaHeader:
    """``data`` is None where several files hold the samples."""

    data: Path | None
    offset: int
    compressed: bool


def read_meta(path: Path) -> MetaHeader:
    """Read the header of a .mha or .mhd file.

    Raises:
        DamagedInput: It does not say where the samples are, or they are not there.
    """
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < _HEADER_BYTES and "elementdatafile" not in fields:
            line = file.readline(_HEADER_BYTES)
            if not line:
                break
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip().lower()] = value.strip()
        offset = file.tell()
    if not {"elementdatafile", "dimsize", "elementtype"} <= fields.keys():
        raise DamagedInput(f"{path} is damaged: its header does not say where the samples are")
    name, compressed = fields["elementdatafile"], fields.get("compresseddata", "").lower() == "true"
    if name.upper() == "LOCAL":
        return MetaHeader(path, offset, compressed)
    if name.upper().startswith("LIST") or "%" in name:
        return MetaHeader(None, 0, compressed)
    data = path.parent / name
    if not data.is_file():
        raise DamagedInput(f"{path} is damaged: there is no file {data} with its samples")
    return MetaHeader(data, 0, compressed)


def check_meta(path: Path, header: MetaHeader, size: int) -> None:
    """Refuse samples that are cut or altered; ``size`` is what they measure unpacked, in bytes.

    Raises:
        DamagedInput: They are not whole.
    """
    if header.data is None:
        return
    found = header.data.stat().st_size - header.offset
    if header.compressed:
        found = _inflated_size(path, header)
    if found < size:
        raise DamagedInput(f"{path} is damaged: {size} bytes of samples expected, {found} found")


def _inflated_size(path: Path, header: MetaHeader) -> int:
    inflate, found = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32), 0
    with (header.data or path).open("rb") as file:
        file.seek(header.offset)
        try:
            while not inflate.eof and (packed := file.read(_PIECE)):
                found += len(inflate.decompress(packed))
        except zlib.error as error:
            raise DamagedInput(
                f"{path} is damaged: its compressed data are altered ({error})"
            ) from error
    if not inflate.eof:
        raise DamagedInput(f"{path} is damaged: its compressed data are cut")
    return found


def nrrd_data_files(path: Path) -> list[Path]:
    """Return the files with the samples of a detached NRRD header; none where they are attached.

    A numbered sequence (``name%03d 1 9 1``) stands for the files that are there.
    """
    names: list[str] = []
    listed = False
    with path.open("rb") as file:
        for raw in file.read(_HEADER_BYTES).split(b"\n"):
            line = raw.decode("latin-1").strip()
            if not line:
                break
            field, colon, value = line.partition(":")
            if listed:
                names.append(line)
            elif colon and field.lower().replace(" ", "") == "datafile":
                listed = value.strip().upper().startswith("LIST")
                names = [] if listed else [value.strip()]
    return [p for name in names for p in _expanded(path.parent, name) if p.is_file()]


def _expanded(folder: Path, name: str) -> list[Path]:
    words = name.split()
    if "%" not in name or len(words) < 4:
        return [folder / name]
    first, last, step = (int(word) for word in words[1:4])
    return [folder / (words[0] % i) for i in range(first, last + 1, max(1, step))]
