"""What passes by itself is tried again: a lost connection, a time-out, a throttled server."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds before the second, third and fourth try.
WAITS = (1.0, 4.0, 16.0)
_KINDS = (ConnectionError, TimeoutError)
_NUMBERS = {errno.ESTALE, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETRESET}
#: What libraries say that hide the kind of an error: GDAL, curl, object stores.
_WORDS = (
    "timed out",
    "timeout",
    "connection reset",
    "connection refused",
    "connection aborted",
    "could not connect",
    "couldn't connect",
    "could not resolve host",
    "temporarily unavailable",
    "service unavailable",
    "too many requests",
    "slow down",
    "slowdown",
    "response code: 429",
    "response code: 500",
    "response code: 502",
    "response code: 503",
    "response code: 504",
    "stale file handle",
)


def transient(error: BaseException) -> bool:
    """Whether an error, or what caused it, is of a kind that passes by itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _KINDS) or (isinstance(seen, OSError) and seen.errno in _NUMBERS):
            return True
        said = str(seen).lower()
        if any(words in said for words in _WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def patiently(action: Callable[[], T]) -> T:
    """Return what an action returns, trying again after transient errors.

    Raises:
        Exception: Of the last try, or any that is not transient.
    """
    for wait in WAITS:
        try:
            return action()
        except Exception as error:
            if not transient(error):
                raise
            time.sleep(wait)
    return action()
