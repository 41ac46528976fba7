"""What must be the same for a training to go on, and what changed where it is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import PlanChanged
from ._job import Job

#: Letters of a digest, and of anything else, that a message quotes.
_DIGEST, _QUOTED = 12, 200


def content(job: Job) -> dict[str, Any]:
    """Return what a training is of: JSON values by what they are called, in the plural.

    Cases count in their order, which batches depend on, not by name: files may move.
    """
    schema = job.dataset.schema
    classes = ", ".join(f"{c.id} {c.name}" for c in schema.classes)
    found: dict[str, Any] = {"classes": f"{classes} (background {schema.background})"}
    for side, census in (("learned from", job.census), ("held out", job.held)):
        cases = census.cases.values()
        samples = [[case.image_digest, case.labels_digest] for case in cases]
        found[f"samples and labels of the cases {side}"] = _digest(samples)
        found[f"grids and channels of the cases {side}"] = _digest([dict(c.facts) for c in cases])
    found["encoder weights"] = job.encoder
    found["weights to start from"] = None if job.start is None else job.start.card.sha256
    return found


def require_same(kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with something else.

    Args:
        kept: What the training began with.
        now: What there is.

    Raises:
        PlanChanged: They differ; the sentence tells in what.
    """
    changed = [
        f"{name} were {_short(kept.get(name))} and are {_short(value)}"
        for name, value in now.items()
        if kept.get(name) != value
    ]
    if changed:
        raise PlanChanged(
            f"the training began with something else: {'; '.join(changed)}; bring that back, or "
            "start again with --fresh"
        )


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    digest = len(text) == hashlib.sha256().digest_size * 2 and text.isalnum()
    return f"sha256 {text[:_DIGEST]}" if digest else text[:_QUOTED]
