"""The files of a MONAI bundle: a folder, or a zip archive, which is never unpacked as it says."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ...document import read_values
from ...errors import ConfigError, DamagedInput

METADATA = "configs/metadata.json"
#: Names of the config that segments, the first that is there is taken.
CONFIGS = tuple(f"configs/inference.{suffix}" for suffix in ("json", "yaml", "yml"))
#: Bytes of a text, and of weights, beyond which an archive is a trap.
_TEXT, _WEIGHTS = 16_000_000, 16_000_000_000
#: How many times larger than in the archive a file may be: weights hardly shrink.
_SHRUNK = 200


def is_bundle(path: Path) -> bool:
    """Return whether a folder or archive is laid out as a bundle."""
    try:
        if path.is_dir():
            names = [name for name in (METADATA, *CONFIGS) if (path / name).is_file()]
        elif path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        else:
            return False
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return any(name.endswith(METADATA) for name in names) and any(
        name.endswith(CONFIGS) for name in names
    )


class BundleFiles:
    """The files of a bundle, by their names inside it.

    Args:
        path: The folder or archive; see `is_bundle`.

    Raises:
        DamagedInput: A name in the archive leads out of it, or the archive is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[str, None] = {}
        self._members: dict[str, zipfile.ZipInfo] | None = None
        if not path.is_dir():
            self._members = _members(path)

    @property
    def read(self) -> tuple[Path, ...]:
        """The files that were read: the archive, or those of the folder, in order of reading."""
        if self._members is not None:
            return (self.path,)
        return tuple(self.path / name for name in self._read)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        if self._members is not None:
            return name in self._members
        return os.path.isfile(self.path / name)

    def inside(self, name: str) -> str:
        """Return the plain form of a file's name: ``./models/model.pt`` without the dot.

        Raises:
            ConfigError: It leads out of the bundle.
        """
        plain = PurePosixPath(name)
        if plain.is_absolute() or ".." in plain.parts:
            raise ConfigError(f"{self.path}: file {name!r:.80} lies outside the bundle")
        return str(plain)

    def values(self, name: str) -> dict[str, Any]:
        """Return the keys and values of a JSON or YAML file.

        Raises:
            ConfigError: There is none, or it cannot be read, or it leads out of the bundle.
        """
        name = self.inside(name)
        told = f"{self.path}: {name}"
        if not self.has(name):
            raise ConfigError(f"{told} is not there")
        with self.local(name, _TEXT) as file:
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{told} cannot be read: {error}") from None
        plain = name.endswith(".json")
        values = read_values(text, told, json.loads) if plain else read_values(text, told)
        if not isinstance(values, dict):
            raise ConfigError(f"{told}: expected keys and values")
        return values

    @contextmanager
    def local(self, name: str, most: int = _WEIGHTS) -> Iterator[Path]:
        """Give a file on disk: that of the folder, or a copy that goes with the context.

        Raises:
            DamagedInput: It is larger than ``most``, or damaged.
        """
        self._read[name] = None
        if self._members is None:
            if (self.path / name).stat().st_size > most:
                raise DamagedInput(f"{self.path}: {name} is larger than {most} bytes")
            yield self.path / name
            return
        member = self._members[name]
        if member.file_size > min(most, max(_TEXT, _SHRUNK * member.compress_size)):
            raise DamagedInput(
                f"{self.path}: {name} would unpack {member.compress_size} bytes to "
                f"{member.file_size}, which no file of a bundle does"
            )
        with tempfile.TemporaryDirectory(prefix="tiledseg-") as folder:
            copy = Path(folder) / PurePosixPath(name).name
            try:
                archive = zipfile.ZipFile(self.path)
                with archive, archive.open(member) as packed, copy.open("wb") as file:
                    shutil.copyfileobj(packed, file)
            except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
                raise DamagedInput(f"{self.path}: {name} cannot be unpacked: {error}") from None
            yield copy


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by their names below the bundle's folder.

    Raises:
        DamagedInput: It is no archive, or a name in it leads out of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise DamagedInput(f"{path} is not a zip archive: {error}") from None
    for member in members:
        name = member.filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in (parts or ("",))[0]:
            raise DamagedInput(
                f"{path} is refused: {name!r:.80} in it leads out of the folder it would be "
                "unpacked to"
            )
    found = min((m.filename for m in members if m.filename.endswith(METADATA)), key=len)
    top = found.removesuffix(METADATA)
    return {m.filename.removeprefix(top): m for m in members if m.filename.startswith(top)}
