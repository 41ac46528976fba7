"""The user's cache folder: exported networks and measured runtimes, kept by content."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from ..errors import OutputFailed, TiledsegError


def cache_folder() -> Path:
    """Return the folder: ``$TILEDSEG_CACHE``, else ``tiledseg`` in the user's cache folder."""
    named = os.environ.get("TILEDSEG_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiledseg"


@contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """Turn the errors of writing to a folder of the cache into one sentence.

    Raises:
        OutputFailed: It cannot be written.
    """
    try:
        yield
    except TiledsegError:
        raise
    except OSError as error:
        raise OutputFailed(
            f"the cache {error.filename or folder} cannot be written ({error.strerror}): point "
            "TILEDSEG_CACHE at a folder that can, or use --runtime torch"
        ) from None


def write_whole(path: Path, text: str) -> Path:
    """Write a file whole or not at all; whoever does the same at the same time is not disturbed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        return partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def known_sha256(path: Path) -> str:
    """Return `file_sha256`, computed once for as long as nobody writes to the file."""
    whole = path.resolve()
    state = whole.stat()
    return _known(whole, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=8192)  # more than a model has files: they are asked for in turn
def _known(path: Path, *state: int) -> str:
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
