"""Progress off a terminal: lines with a rate and an estimate, ten seconds apart at least."""

from __future__ import annotations

import time

import pytest

from tiledseg.cli._progress import Bar, Share
from tiledseg.engine import Postprocessing, WindowsDone


class Clock:
    """Time as a test sets it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def test_windows_and_what_comes_after_them(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bar(10, quiet=False) as bar:
        for seconds, event in (
            (20, WindowsDone(0, 4)),
            (1, WindowsDone(0, 1)),
            (4, WindowsDone(0, 5)),
            (1, Postprocessing(0.0)),
            (30, Postprocessing(0.25)),
            (1, Postprocessing(0.5)),
            (9, Postprocessing(0.0)),  # of the next input
            (10, Postprocessing(0.5)),
        ):
            clock.now += seconds
            bar(event)
    assert capsys.readouterr().err.splitlines() == [
        "4/10 windows, 0.2/s, about 30 s left",
        "10/10 windows, 0.4/s, about 0 s left",
        "post-processing: 25% done, about 90 s left",
        "post-processing: 50% done, about 10 s left",
    ]


def test_a_share(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Share("burning", quiet=False) as share:
        for seconds, done in ((5, 0.1), (25, 0.2), (5, 0.4)):
            clock.now += seconds
            share(done)
    assert capsys.readouterr().err.splitlines() == ["20% done, about 120 s left"]
