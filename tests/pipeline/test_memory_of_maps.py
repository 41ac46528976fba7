"""Measured peak memory of what is made of class maps: within the budget it is given."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("command", ["instances", "surfaces"])
def test_peak_stays_within_the_budget(tmp_path: Path, command: str) -> None:
    """In a process of its own; the room is hardly more than what is refused.

    A busy machine looks at the memory less often, and may miss how high it was.
    """
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("peaks.py")), command, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    for grown, room in json.loads(ended.stdout):
        assert room / 12 < grown <= room
