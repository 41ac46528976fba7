"""A zip archive with a model of some other kind in it, unpacked into the user's cache."""

from __future__ import annotations

import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ...errors import ConfigError, DamagedInput
from .._cache import cache_folder, known_sha256, writing_cache
from .._kinds import kind_of
from ._understood import Understood

#: Files, and bytes of all of them, beyond which an archive is a trap.
_FILES, _BYTES = 10_000, 64_000_000_000
#: How many times larger than in the archive a file may be, from so many bytes on: weights hardly
#: shrink.
_SHRUNK, _SMALL = 200, 16_000_000
#: Folders inside folders that are looked into.
_DEEP = 5


def claims(path: Path) -> bool:
    """Return whether this is a zip archive that is no file of torch's own."""
    zipped = path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)
    return zipped and kind_of(path) is None


def read(path: Path) -> Understood:
    """Return what the model in an archive is.

    Raises:
        ConfigError: There is none that is known here.
        DamagedInput: The archive is damaged, or a trap.
        OutputFailed: The cache cannot be written.
    """
    from . import find_reader  # the list of readers names this module

    folder = unpacked(path)
    for place in places(folder):
        reader = find_reader(place)
        if reader is not None:
            inside = place.relative_to(folder)
            found = reader.read(place)
            return replace(
                found,
                kind=f"{found.kind}, {inside} in a zip archive",
                files=(path,),
                card={"name": path.stem, **found.card},
            )
    raise ConfigError(f"{path} holds no kind of foreign model that is known here")


def unpacked(path: Path) -> Path:
    """Return the folder with what is in an archive, in the cache.

    Raises:
        DamagedInput: The archive is damaged, or something in it leads out of the folder, is a
            link, or is far larger than a model.
        OutputFailed: The cache cannot be written.
    """
    folder = cache_folder() / "unpacked"
    target = folder / known_sha256(path)[:32]
    if target.is_dir():
        return target
    try:
        with zipfile.ZipFile(path) as archive, writing_cache(folder):
            members = archive.infolist()
            _check(path, members)
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as made:
                archive.extractall(Path(made, "all"), members)  # checked
                _move(Path(made, "all"), target)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DamagedInput(f"{path} cannot be unpacked: {error}") from None
    return target


def _move(made: Path, target: Path) -> None:
    """Give a folder its name, unless another process was faster."""
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that is no model's.

    Raises:
        DamagedInput: It is not.
    """
    if len(members) > _FILES or sum(m.file_size for m in members) > _BYTES:
        raise DamagedInput(f"{path} is refused: it is larger than any model")
    for member in members:
        name = member.filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in "".join(parts[:1]):
            raise DamagedInput(f"{path} is refused: {name!r:.80} in it leads out of its folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DamagedInput(f"{path} is refused: {name!r:.80} in it is a link")
        if member.file_size > max(_SMALL, _SHRUNK * member.compress_size):
            raise DamagedInput(
                f"{path} is refused: {name!r:.80} would unpack {member.compress_size} bytes to "
                f"{member.file_size}"
            )


def places(folder: Path) -> Iterator[Path]:
    """Yield a folder, those in it, then the files in them, the outer ones first."""
    folders = [folder]
    for parent in folders:
        if len(parent.relative_to(folder).parts) < _DEEP:
            folders += sorted(child for child in parent.iterdir() if child.is_dir())
    yield from folders
    for parent in folders:
        yield from sorted(child for child in parent.iterdir() if child.is_file())
