"""The user's cache folder: exported networks and measured runtimes, kept by content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder: ``$TILEDSEG_CACHE``, else ``tiledseg`` in the user's cache folder."""
    named = os.environ.get("TILEDSEG_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiledseg"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
