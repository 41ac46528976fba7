"""Steps of a long command in a folder beside its output, with which the same command goes on.

parcels.gpkg.work/
plan.json     what the steps depend on; another map or other settings are refused
steps         the ledger
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ConfigError, GridMismatch, PlanChanged, UnknownFormat
from ..io import Folder, Ledger, open_folder
from ._job import refuse_changes
from ._names import work_folder

_PLAN, _STEPS = "plan.json", "steps"
#: All of it, as it is removed: where that is cut short, no steps are left without their plan.
_ALL = (_STEPS, _PLAN)
#: Another number for other steps, which those of before do not fit.
_VERSION = 1


@contextmanager
def unfinished(out: Path, identity: dict[str, Any], fresh: bool, workers: int) -> Iterator[Ledger]:
    """Give the ledger of a command; the folder goes once all is done.

    It goes, too, where a setting does not fit: that is mended by another one.

    Args:
        out: The output.
        identity: All that the steps depend on; what JSON does not know is told as text.
        fresh: Whether to begin again.
        workers: Steps that are done at the same time.

    Raises:
        PlanChanged: Another process is at it, or the folder belongs to another map or settings.
        OutputFailed: The folder cannot be written.
    """
    where = Path(work_folder(out))
    folder = open_folder(where)
    with folder.lock(shared=False):
        if fresh:
            folder.remove(*_ALL)
        plan = json.dumps({"version": _VERSION, **identity}, default=_plain)
        if os.path.lexists(where / _PLAN):
            refuse_changes(folder, _read(folder), json.loads(plan))
        elif os.path.lexists(where / _STEPS):
            raise _unreadable(folder)  # steps of whatever: without a plan nobody can tell
        else:
            folder.write(_PLAN, plan.encode())
        try:
            with Ledger(where, _STEPS, workers) as ledger:
                yield ledger
        except (ConfigError, GridMismatch, UnknownFormat):
            folder.remove(*_ALL)
            raise
        folder.remove(*_ALL)


def _plain(value: Any) -> Any:
    """Return a value that JSON does not know as text, or a set as texts in order."""
    return sorted(map(str, value)) if isinstance(value, Set) else str(value)


def _read(folder: Folder) -> dict[str, Any]:
    """Return what a folder's steps depend on.

    Raises:
        PlanChanged: Nobody can tell.
    """
    try:
        values = json.loads(folder.read(_PLAN))
        if isinstance(values, dict):
            return values
    except (OSError, ValueError, RecursionError):
        pass
    raise _unreadable(folder)


def _unreadable(folder: Folder) -> PlanChanged:
    return PlanChanged(f"unfinished work in {folder.uri} cannot be read; discard it with --fresh")
