"""Files that appear whole under their final name or not at all; one sentence when they cannot."""

from __future__ import annotations

import hashlib
import os
import shutil
import textwrap
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..budget import format_bytes
from ..errors import OutputFailed, TiledsegError

_HASH_UP_TO = 64 * 2**20
_SILENCE = threading.RLock()


class ArrayPlace(NamedTuple):
    """Where `create_array` and `open_array` find an array: a path or object store, and a name."""

    store: Any
    name: str


@contextmanager
def silenced(message: str = "", category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore warnings, for one thread at a time: what is ignored belongs to the whole process.

    Args:
        message: How they begin, as a regular expression.
        category: What they are.
    """
    with _SILENCE, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield


@contextmanager
def writing(
    path: Path | str, errors: tuple[type[Exception], ...] = (OSError, RuntimeError)
) -> Iterator[None]:
    """Turn the errors of writing to ``path`` into `OutputFailed` with one sentence."""
    try:
        yield
    except TiledsegError:
        raise
    except errors as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise OutputFailed(
            f"cannot write {path}: {reason}; mend that and run the same command again to go on"
        ) from error


def one_line(error: object) -> str:
    """Return an error's text on one line; some libraries tell pages."""
    text = str(error).partition("\n\nDebug source")[0].partition("\nTraceback")[0]
    return textwrap.shorten(text, 300)


def require_place(path: Path) -> None:
    """Refuse a name under which no file can be made; an array of Zarr may replace a folder.

    Raises:
        OutputFailed: There is no such folder, it cannot be written, or the name is taken.
    """
    if not path.parent.is_dir():
        raise OutputFailed(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if path.is_dir() and path.suffix.lower() != ".zarr":
        raise OutputFailed(f"cannot write {path}: there is a folder of that name")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputFailed(
            f"cannot write {path}: it is a pipe, a socket or a device; name a file, which can be "
            "replaced as a whole"
        )
    if not os.access(path.parent, os.W_OK):
        raise OutputFailed(f"cannot write {path}: no permission to write into {path.parent}")


def require_room(path: Path, needed: int) -> None:
    """Refuse a disk on which samples have no room, before any work.

    Raises:
        OutputFailed: There is less room.
    """
    with writing(path):
        free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OutputFailed(
            f"cannot write {path}: its samples need {format_bytes(needed)} before they are "
            f"compressed, {format_bytes(free)} are free in {path.parent}; make room, or choose "
            "another folder"
        )


def require_own(path: Path, opening: str) -> None:
    """Refuse to replace a file that was not written by tiledseg.

    Args:
        path: The file; there may be none.
        opening: How those of tiledseg begin.

    Raises:
        OutputFailed: It begins otherwise.
    """
    if not os.path.lexists(path):
        return
    expected, own = opening.encode(), False
    if path.is_file():  # opening a pipe would wait for ever
        with suppress(OSError), path.open("rb") as file:
            own = file.read(len(expected)) == expected
    if not own:
        raise OutputFailed(
            f"{path} would be replaced, and was not written by tiledseg; move it, or choose "
            "another output"
        )


def temporary_beside(path: Path) -> Path:
    """Return a hidden name in the same folder that keeps the suffixes.

    >>> temporary_beside(Path("out/labels.nii.gz")).name
    '.partial.labels.nii.gz'
    """
    return path.with_name(f".partial.{path.name}")


def remove(temporary: Path) -> None:
    """Remove a temporary file as far as that can be done: something else may lie in its place."""
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def settle(temporary: Path, final: Path) -> None:
    """Bring a finished file to disk and to its final name."""
    to_disk(temporary)
    temporary.replace(final)


def to_disk(path: Path) -> None:
    """Wait until a file, or every file of a folder, is on disk."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all."""
    temporary = temporary_beside(path)
    with writing(path):
        try:
            temporary.write_bytes(content)
            settle(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def file_identity(path: Path) -> dict[str, Any]:
    """Return JSON values that change with a file's content.

    Files up to 64 MiB are hashed, so that a copy counts as the same; of larger ones size and
    time of change must do.
    """
    status = path.stat()
    if status.st_size > _HASH_UP_TO:
        return {"name": path.name, "size": status.st_size, "changed": status.st_mtime_ns}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"name": path.name, "size": status.st_size, "sha256": digest}
