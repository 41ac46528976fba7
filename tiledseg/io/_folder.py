"""Folders: where unfinished work lies, on a disk or on an object store."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, ClassVar
from urllib.parse import urlsplit

from ..errors import ConfigError, OutputFailed, PlanChanged
from ._files import ArrayPlace, one_line, writing


class Folder(ABC):
    """A place for named bytes and for arrays, shared by every process of a run.

    Names are relative, with ``/`` between their parts. Any thread or process may call anything; a
    reader sees an old or a new content whole, never a part.
    """

    uri: str
    #: What storing something may raise; `writing` makes a sentence of it.
    errors: ClassVar[tuple[type[Exception], ...]]
    #: What reading raises where the place cannot be reached, which is no damage.
    unreachable: ClassVar[tuple[type[Exception], ...]] = ()

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return a content.

        Raises:
            FileNotFoundError: There is no such name.
        """

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Store a content whole or not at all, in place of an older one."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Store a content unless the name is taken; of several at once, one succeeds.

        Returns:
            Whether this call stored it.
        """

    @abstractmethod
    def names(self, under: str) -> list[str]:
        """Return the sorted names of contents in ``under`` and whatever is below it."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a content; one that is not there is no error."""

    @abstractmethod
    def array(self, name: str) -> ArrayPlace:
        """Return where the array ``name`` lies."""

    @abstractmethod
    def remove(self, *names: str) -> None:
        """Delete contents, and whatever is below their names, in this order; nothing else.

        A folder in which nothing is left goes too.
        """

    @abstractmethod
    def lock(self, shared: bool) -> AbstractContextManager[None]:
        """Keep other processes out for as long as the context lasts: all, or those not sharing.

        The lock of a process that died, or whose machine did, is soon free again.

        Raises:
            PlanChanged: Another process holds it.
        """

    def check(self) -> None:
        """See to it that the lock is still held.

        Raises:
            PlanChanged: It was lost: this process was not heard of for too long.
        """
        return  # a lock on a disk is held until it is given back

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what goes wrong when something is stored into one sentence."""
        self.check()
        with writing(self.uri, self.errors):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what goes wrong on the way to the place into one sentence."""
        try:
            yield
        except self.unreachable as error:
            raise OutputFailed(
                f"{self.uri} cannot be reached: {one_line(error)}; run the same command again to "
                "go on"
            ) from error


def open_folder(where: str | Path | Folder) -> Folder:
    """Return the folder at a path or URL (``s3://bucket/prefix``); it need not be there yet.

    Raises:
        ConfigError: No such kind of place.
        MissingBackend: The library that reaches it is not installed.
    """
    if isinstance(where, Folder):
        return where
    if "://" not in str(where):
        return LocalFolder(Path(where))
    parts = urlsplit(str(where))
    if parts.scheme == "file":
        return LocalFolder(Path(parts.path))
    if not parts.netloc:
        raise ConfigError(f"{where} names no bucket; write it like s3://bucket/prefix")
    from ._obstore import ObjectFolder

    return ObjectFolder(str(where))


def busy(uri: str, who: str = "") -> PlanChanged:
    """Return the refusal of a folder that another process holds."""
    return PlanChanged(f"another run is writing {uri}{who}; wait for it, or choose another output")


class LocalFolder(Folder):
    """A folder on a disk, local or shared; the lock is a file beside it.

    Args:
        path: The folder; `write` and `lock` make it, or the one above it, where it is not there.
    """

    errors = (OSError, RuntimeError)

    def __init__(self, path: Path) -> None:
        self.path, self.uri = path, str(path)

    def read(self, name: str) -> bytes:
        """Return a content."""
        return (self.path / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Store a content."""
        with self._written(name, data) as temporary:
            temporary.replace(self.path / name)

    def create(self, name: str, data: bytes) -> bool:
        """Store a content unless the name is taken."""
        with self._written(name, data) as temporary:
            try:
                (self.path / name).hardlink_to(temporary)
            except FileExistsError:
                return False
            except OSError:  # FAT and some shares know no links: of several creators at the very
                if (self.path / name).exists():  # same moment, the last one's content stays there
                    return False
                temporary.replace(self.path / name)
        return True

    @contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[Path]:
        final = self.path / name
        temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
        with writing(self.uri):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                yield temporary
            finally:
                temporary.unlink(missing_ok=True)

    def names(self, under: str) -> list[str]:
        """Return the sorted names of contents in ``under``."""
        found = []
        for folder, _, files in os.walk(self.path / under):
            base = Path(folder).relative_to(self.path)
            found += [(base / f).as_posix() for f in files if not f.startswith(".")]
        return sorted(found)

    def delete(self, name: str) -> None:
        """Delete a content."""
        with writing(self.uri):
            (self.path / name).unlink(missing_ok=True)

    def array(self, name: str) -> ArrayPlace:
        """Return where the array ``name`` lies."""
        return ArrayPlace(self.path, name)

    def remove(self, *names: str) -> None:
        """Delete contents, and the folder where nothing is left in it."""
        with writing(self.uri):
            for name in names:
                path = self.path / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            for torn in self.path.glob(".*"):  # what a killed process was writing
                if any(torn.name.startswith(f".{name}.") for name in names):
                    torn.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    @contextmanager
    def lock(self, shared: bool) -> Iterator[None]:
        """Keep other processes out, by a file beside the folder."""
        path = self.path.with_name(f".{self.path.name}.lock")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = _locked(path, shared)
        if file is None:
            raise busy(self.uri)
        with file:
            try:
                yield
            finally:
                if not shared:  # others may hold a shared one
                    with suppress(OSError):
                        path.unlink(missing_ok=True)


def _locked(path: Path, shared: bool) -> IO[str] | None:
    """Open and lock a file; return None where another process holds it."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    return file
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        file.close()  # whoever held it removed it between our opening and locking it
