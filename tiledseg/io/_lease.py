"""Leases: a lock that shared or exclusive holders keep on an object store, and lose if silent.

A lease is an object that only conditional puts make and change, renewed by a heartbeat. Its age is
told by the store's own clock. One not renewed for `STALE` seconds, or left by a process of this
machine that is gone, may be taken over; the former holder then learns that it lost it.

A holder first puts its own lease, then looks at the others': of two at the same moment, at least
one sees the other.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from ._folder import busy

#: Seconds without a heartbeat after which a lease may be taken over.
STALE = 60.0
LEASES = "lease"
_DRIVER, _CLOCK = f"{LEASES}/driver", f"{LEASES}/clock"
_SHARED = f"{LEASES}/shared"

Version = dict[str, Any]


class Found(NamedTuple):
    """An object: its content, what identifies this version of it, and when it was put."""

    data: bytes
    version: Version
    modified: datetime


class Objects(Protocol):
    """What a lease needs of an object store; every method may raise ``errors``."""

    uri: str
    errors: ClassVar[tuple[type[Exception], ...]]

    def find(self, name: str) -> Found | None:
        """Return an object, or None."""

    def put_if(self, name: str, data: bytes, version: Version | None) -> Version | None:
        """Put an object over that version of it, or None: a new one; None: it was not so."""

    def names(self, under: str) -> list[str]:
        """Return the names of objects below a prefix."""

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is no error."""


class Lease:
    """A lease held for as long as the context lasts.

    Args:
        objects: Where.
        shared: Whether others that share may hold one too.

    Raises:
        PlanChanged: On entering: another process holds one that excludes this.
    """

    def __init__(self, objects: Objects, shared: bool) -> None:
        self._objects, self._shared = objects, shared
        self._token = secrets.token_hex(8)
        self._name = f"{_SHARED}/{self._token}" if shared else _DRIVER
        self._beats, self._lost = 0, False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def lost(self) -> bool:
        """Whether another process may have taken it over."""
        return self._lost or _now() - self._beaten > STALE

    def __enter__(self) -> Self:
        self._take(self._name)
        try:
            if self._shared:
                self._yield_to(_DRIVER)
            else:
                for name in self._objects.names(_SHARED):
                    self._yield_to(name)
        except BaseException:
            self._objects.delete(self._name)
            raise
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        # Nobody can have taken over a lease this young, so the object is ours to delete.
        if not self._lost and _now() - self._beaten < STALE / 2:
            with suppress(*self._objects.errors):
                self._objects.delete(self._name)

    def _take(self, name: str) -> None:
        """Put this lease under a name, over a stale one if need be."""
        self._beaten = _now()
        version = self._put(name, None)
        if version is None:
            found = self._objects.find(name)
            if found is not None and not self._stale(found):
                raise busy(self._objects.uri, _who(found))
            version = self._put(name, None if found is None else found.version)
            if version is None:
                raise busy(self._objects.uri)
        self._version = version

    def _yield_to(self, name: str) -> None:
        """Give way to another lease, or break it where it is stale."""
        found = self._objects.find(name)
        if found is None:
            return
        if not self._stale(found):
            raise busy(self._objects.uri, _who(found))
        if self._objects.put_if(name, self._content(), found.version) is None:
            raise busy(self._objects.uri)  # its holder has come back
        self._objects.delete(name)

    def _put(self, name: str, version: Version | None) -> Version | None:
        """Put this lease; a put whose answer was lost and that was tried again has succeeded."""
        put = self._objects.put_if(name, self._content(), version)
        if put is None:
            found = self._objects.find(name)
            if found is not None and _values(found).get("token") == self._token:
                return found.version
        return put

    def _content(self) -> bytes:
        self._beats += 1
        values = {"token": self._token, "host": _host(), "pid": os.getpid(), "beat": self._beats}
        return json.dumps(values).encode()

    def _beat(self) -> None:
        while not self._stop.wait(STALE / 4):
            began = _now()
            try:
                version = self._put(self._name, self._version)
            except self._objects.errors:
                continue  # the next one may come through
            if version is None:
                self._lost = True
                return
            self._version, self._beaten = version, began

    def _stale(self, found: Found) -> bool:
        values = _values(found)
        if values.get("host") == _host() and not _alive(values.get("pid")):
            return True
        name = f"{_CLOCK}-{self._token}"
        self._objects.put_if(name, b"", None)
        now = self._objects.find(name)
        self._objects.delete(name)
        return now is not None and (now.modified - found.modified).total_seconds() > STALE


def _now() -> float:
    """Return the seconds of a clock that also runs while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _host() -> str:
    """Return what processes share that can see one another."""
    space = ""
    with suppress(OSError):  # Linux: containers number their processes apart, names may be shared
        space += f" {os.stat('/proc/self/ns/pid').st_ino}"
        space += f" {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    return f"{platform.node()}{space}"


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, TypeError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _values(found: Found) -> dict[str, Any]:
    try:
        values = json.loads(found.data)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _who(found: Found) -> str:
    values = _values(found)
    host, pid = str(values.get("host")).split(" ")[0], values.get("pid")
    return f" ({host}:{pid}; its lease is free {STALE:.0f} s after it was last heard of)"
