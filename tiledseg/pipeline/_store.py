"""A job's work store: where it lies, what it is told, and who may open it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ..engine import WorkStore, discard, locked, stored
from ..io import Folder
from ._job import Job, require_same
from ._names import work_folder
from ._report import resolved


@contextmanager
def open_store(job: Job, out: Path | None, fresh: bool, shared: bool) -> Iterator[WorkStore]:
    """Open or make the work store of a job, or a passing one for an in-memory run.

    Raises:
        PlanChanged: Another process holds it, or it belongs to another run.
    """
    with ExitStack() as stack:
        if out is None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="tiledseg-"))
            where = work_folder(Path(scratch) / "array")
        else:
            where = work_folder(out, job.config.output.work)
        folder = stack.enter_context(locked(where, shared))
        if fresh or (not shared and stored(folder) is None):
            discard(folder)
        store = create_store(job, folder)
        require_same(job, folder)
        yield store


def create_store(job: Job, where: str | Path | Folder) -> WorkStore:
    """Make the work store of a job, or open the one that is there."""
    schema, coding = job.card.schema, job.coding
    return WorkStore.create(
        where,
        job.plan,
        job.identity,
        _settings(job),
        (schema.dtype, schema.nodata),
        None if coding is None else (coding, job.card.outputs),
    )


def _settings(job: Job) -> dict[str, Any]:
    """Return the settings of a job as JSON values; its files are told by their whole paths."""
    values = resolved(job).model_dump(mode="json")
    values["tiling"]["core"] = list(job.plan.core)
    values["image"], values["model"] = _whole(values["image"]), _whole(values["model"])
    values["input"]["roi"] = _whole(values["input"]["roi"])
    values["output"]["grid"] = _whole(values["output"]["grid"])
    return values


def _whole(named: Any) -> Any:
    if isinstance(named, list):
        return [_whole(part) for part in named]
    if isinstance(named, str) and Path(named).exists():
        return str(Path(named).absolute())
    return named
