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
from .._kinds import is_zip, kind_of
from ._understood import Understood

#: Files, and bytes of all of them, beyond which an archive is a trap.
_FILES, _BYTES = 10_000, 64_000_000_000
#: How many times larger than in the archive a file may be, from so many bytes on: weights hardly
#: shrink.
_SHRUNK, _SMALL = 200, 16_000_000
#: The same for all files together.
_SHRUNK_ALL, _SOME = 20, 500_000_000
#: Bytes of a name and of a path, and folders inside folders, that every file system holds.
_LONGEST, _LONGEST_PATH, _NESTED = 255, 1000, 64
#: Folders inside folders that are looked into.
_DEEP = 5


def claims(path: Path) -> bool:
    """Return whether this is a zip archive that is no file of torch's own."""
    zipped = path.suffix.lower() == ".zip" and is_zip(path)
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
                _extract(path, archive, Path(made, "all"))
                _move(Path(made, "all"), target)
    except (zipfile.BadZipFile, NotImplementedError) as error:  # of an unknown compression
        raise DamagedInput(f"{path} cannot be unpacked: {error}") from None
    return target


def _extract(path: Path, archive: zipfile.ZipFile, place: Path) -> None:
    """Unpack what was checked.

    Raises:
        DamagedInput: It cannot be read.
        OSError: It cannot be written.
    """
    place.mkdir()
    try:
        archive.extractall(place)
    except Exception as error:  # every way of compressing has errors of its own
        if isinstance(error, OSError) and error.errno is not None:
            raise
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} cannot be unpacked: {told}") from None


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
    if not members:
        raise DamagedInput(f"{path} is refused: there is nothing in it")
    size, whole = path.stat().st_size, sum(m.file_size for m in members)
    if len(members) > _FILES or whole > _BYTES:
        raise DamagedInput(f"{path} is refused: it is larger than any model")
    if whole > max(_SOME, _SHRUNK_ALL * size):
        raise DamagedInput(f"{path} is refused: it would unpack {size} bytes to {whole}")
    _check_names(path, members)
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


def _check_names(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse names under which no files can lie beside one another.

    Raises:
        DamagedInput: One is no name of a file, or two files would have one place.
    """
    if not all(member.filename for member in members):
        raise DamagedInput(f"{path} is refused: a file in it has no name")
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for member in members:
        name, place = member.filename, PurePosixPath(member.filename)
        parts = place.parts
        longest = max((len(part.encode()) for part in parts), default=0)
        if len(parts) > _NESTED or longest > _LONGEST or len(name.encode()) > _LONGEST_PATH:
            raise DamagedInput(f"{path} is refused: {name!r:.80} in it is too long for a name")
        folders.update(place.parents)
        if member.is_dir():
            folders.add(place)
        elif place in files:
            raise DamagedInput(f"{path} is refused: it holds {name!r:.80} twice")
        else:
            files.add(place)
    clash = next(iter(files & folders), None)
    if clash is not None:
        raise DamagedInput(f"{path} is refused: {str(clash)!r:.80} in it is a file and a folder")


def places(folder: Path) -> Iterator[Path]:
    """Yield a folder, those in it, then the files in them, the outer ones first."""
    folders = [folder]
    for parent in folders:
        if len(parent.relative_to(folder).parts) < _DEEP:
            folders += sorted(child for child in parent.iterdir() if child.is_dir())
    yield from folders
    for parent in folders:
        yield from sorted(child for child in parent.iterdir() if child.is_file())
