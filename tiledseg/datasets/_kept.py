"""Censuses kept in the user's cache folder: numbers and text only, whole or not at all."""

from __future__ import annotations

import json
import os
import threading
import zipfile
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from ..models import cache_folder
from ..moments import Moments

_ARRAYS = ("counts", "unlabelled", "sample")
_MOMENTS = ("moments", "foreground")
_PLAIN = ("block", "strange", "unmeasured", "facts", "image_digest", "labels_digest")


def keep_census(key: str, values: dict[str, Any]) -> None:
    """Keep the fields of a census; where the cache cannot be written it is counted again."""
    path = _path(key)
    arrays = {name: values[name] for name in _ARRAYS}
    arrays |= {name: np.array(astuple(values[name]), np.float64) for name in _MOMENTS}
    plain = json.dumps({name: values[name] for name in _PLAIN})
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                np.savez(file, plain=np.array(plain), **arrays)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def kept_census(key: str) -> dict[str, Any] | None:
    """Return the fields of a census that was kept, or None; a damaged file counts as none."""
    try:
        with _path(key).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            values: dict[str, Any] = json.loads(str(file["plain"]))
            values |= {name: file[name] for name in _ARRAYS}
            values |= {name: Moments(*file[name]) for name in _MOMENTS}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error):
        return None
    values["block"], values["strange"] = tuple(values["block"]), Counter(values["strange"])
    return values


def _path(key: str) -> Path:
    return cache_folder() / "census" / f"{key}.npz"
