"""Errors that pass by themselves are tried again; windows are told of once."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from tiledseg.engine import _retry as retry
from tiledseg.engine._retry import patiently, transient
from tiledseg.engine._task import _Once
from tiledseg.errors import DamagedInput, OutputFailed


def caused(cause: BaseException) -> Exception:
    """Return an error of ours that a library's error caused."""
    error = DamagedInput("https://x/a.tif cannot be read")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError("peer"), True),
        (TimeoutError(), True),
        (caused(ConnectionError("gone")), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (DamagedInput("/vsicurl/x: HTTP response code: 503"), True),
        (DamagedInput("/vsicurl/x: HTTP response code: 404"), False),
        (caused(RuntimeError("CURL error: Could not resolve host: x")), True),
        (OutputFailed("cannot write s3://b: SlowDown: reduce your request rate"), True),
        (DamagedInput("scene.tif is damaged: the file is cut short"), False),
        (RuntimeError("cosmic ray"), False),
    ],
    ids=str,
)
def test_what_passes_by_itself(error: Exception, passes: bool) -> None:
    assert transient(error) is passes


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the waits in place of waiting."""
    found: list[float] = []
    monkeypatch.setattr(retry.time, "sleep", found.append)
    return found


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [times]

    def act() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "done"

    return act


def test_it_waits_longer_every_time(waits: list[float]) -> None:
    assert patiently(failing(3, TimeoutError())) == "done"
    assert waits == list(retry.WAITS) == sorted(waits)


def test_at_last_the_error_is_told(waits: list[float]) -> None:
    with pytest.raises(TimeoutError):
        patiently(failing(4, TimeoutError()))


def test_other_errors_are_told_at_once(waits: list[float]) -> None:
    with pytest.raises(ValueError, match="no"):
        patiently(failing(1, ValueError("no")))
    assert waits == []


def test_windows_of_another_attempt_are_told_once() -> None:
    told: list[int] = []
    windows = _Once(told.append)
    for counts in ((3, 2), (3,), (3, 2, 4)):
        windows.rewound(0)
        for count in counts:
            windows(count)
    assert sum(told) == 9
