"""Object stores (s3://, gs://, az://), through obstore: the only door to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

from ..errors import ConfigError, MissingBackend, PlanChanged
from ._files import ArrayPlace, one_line, writing
from ._folder import Folder
from ._lease import Found, Lease, Version

try:
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
    from obstore.store import MemoryStore, ObjectStore, from_url
except ImportError:
    raise MissingBackend("obstore", "cloud", "work on an object store") from None

#: Stores of this process, for ``memory://name``.
_MEMORY: dict[str, MemoryStore] = {}


class ObjectFolder(Folder):
    """A prefix of an object store; the lock is a lease, see `_lease`.

    Keys and addresses come from the usual environment variables (``AWS_ACCESS_KEY_ID``,
    ``AWS_ENDPOINT_URL`` and so on). Connections, timeouts and throttling are tried again for half a
    minute.

    Args:
        uri: Like ``s3://bucket/prefix``.

    Raises:
        ConfigError: No such kind of store.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (BaseError, OSError)
    unreachable: ClassVar[tuple[type[Exception], ...]] = (BaseError,)

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._store = _open(self.uri)
        self._lease: Lease | None = None

    def read(self, name: str) -> bytes:
        """Return a content."""
        found = self.find(name)
        if found is None:
            raise FileNotFoundError(f"there is no {name} in {self.uri}")
        return found.data

    def write(self, name: str, data: bytes) -> None:
        """Store a content."""
        with self.writing():
            self._store.put(name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Store a content unless the name is taken."""
        with self.writing():
            return self.put_if(name, data, None) is not None

    def names(self, under: str) -> list[str]:
        """Return the sorted names of contents in ``under``."""
        with self.reading():
            batches = self._store.list(under.rstrip("/") or None)
            return sorted(entry["path"] for batch in batches for entry in batch)

    def delete(self, name: str) -> None:
        """Delete a content."""
        with writing(self.uri, self.errors):
            self._delete([name])

    def _delete(self, names: list[str]) -> None:
        try:
            if names:
                self._store.delete(names)
        except FileNotFoundError:  # not every kind of store overlooks it
            for name in names if len(names) > 1 else ():
                self._delete([name])

    def array(self, name: str) -> ArrayPlace:
        """Return where the array ``name`` lies."""
        return ArrayPlace(self._store, name)

    def remove(self, *names: str) -> None:
        """Delete contents, and whatever is below their names."""
        there = self.names("")
        with self.writing():
            for name in names:
                self._delete([n for n in there if n == name or n.startswith(f"{name}/")])

    @contextmanager
    def lock(self, shared: bool) -> Iterator[None]:
        """Keep other processes out, by a lease."""
        lease = Lease(self, shared)
        with writing(self.uri, self.errors):
            lease.__enter__()
        self._lease = lease
        try:
            yield
        finally:
            self._lease = None
            lease.__exit__()

    def check(self) -> None:
        """See to it that the lease is still held."""
        if self._lease is not None and self._lease.lost:
            raise PlanChanged(
                f"this run was not heard of for too long, and another may have taken over "
                f"{self.uri}; run the same command again to go on"
            )

    # ----------------------------------------------------------------- for leases

    def find(self, name: str) -> Found | None:
        """Return an object, or None."""
        with self.reading():
            try:
                got = self._store.get(name)
            except FileNotFoundError:
                return None
            meta = got.meta
            return Found(bytes(got.bytes()), _version(meta), meta["last_modified"])

    def put_if(self, name: str, data: bytes, version: Version | None) -> Version | None:
        """Put an object over that version of it, or None: a new one; None: it was not so."""
        try:
            mode: Any = "create" if version is None else version
            return _version(self._store.put(name, data, mode=mode))
        except (AlreadyExistsError, PreconditionError):
            return None
        except FileNotFoundError:  # of the version, or of the whole bucket
            if version is None:
                raise
            return None


def _version(meta: Any) -> Version:
    """Return what identifies a version; obstore takes no None back."""
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key) is not None}


def _open(uri: str) -> ObjectStore:
    if uri.startswith("memory://"):
        return _MEMORY.setdefault(uri, MemoryStore())
    retries: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=30)}
    try:
        return from_url(uri, retry_config=retries)
    except (BaseError, ValueError, TypeError) as error:
        raise ConfigError(f"{uri} cannot be reached: {one_line(error)}") from error
