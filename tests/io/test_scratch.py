"""What waits on disk comes back as it was, leaves no name, and says when there is no room."""

from __future__ import annotations

import io
import resource
from pathlib import Path

import numpy as np
import pytest

from tiledseg.errors import OutputFailed
from tiledseg.io import Scratch


def test_what_waits_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    parts = [
        rng.integers(0, 1 << 40, 1000),
        np.zeros((0, 2), np.int32),
        rng.random((40, 50)).T,  # not in C order
        rng.integers(0, 9, 400_001).astype(np.int32),
    ]
    with Scratch(tmp_path) as scratch:
        places = [scratch.append(part) for part in parts]
        assert list(tmp_path.iterdir()) == []
        for begin, part in zip(places, parts, strict=True):
            np.testing.assert_array_equal(
                scratch.read(begin, part.size, part.dtype), part.reshape(-1)
            )
        np.testing.assert_array_equal(scratch.read(places[3] + 4 * 7, 5, np.int32), parts[3][7:12])
        copied = io.BytesIO()
        scratch.copy_to(copied)
    assert copied.getvalue() == b"".join(part.tobytes() for part in parts)


def test_no_room_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Scratch(tmp_path) as scratch:
        begin = scratch.append(np.arange(1000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            with pytest.raises(OutputFailed, match="cannot write"):
                scratch.append(np.zeros(100_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        np.testing.assert_array_equal(scratch.read(begin, 1000, np.int64), np.arange(1000))
    with pytest.raises(OutputFailed, match="no"):
        Scratch(tmp_path / "none")
