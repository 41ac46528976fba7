"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with real images, volumes and weights; skips where it is absent."""
    named = os.environ.get("TILEDSEG_DATA", "")
    if not named or not Path(named).is_dir():
        pytest.skip("TILEDSEG_DATA does not name the data folder")
    return Path(named)
