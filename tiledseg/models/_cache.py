"""The user's cache folder: exported networks and measured runtimes, kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder: ``$TILEDSEG_CACHE``, else ``tiledseg`` in the user's cache folder."""
    named = os.environ.get("TILEDSEG_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiledseg"
