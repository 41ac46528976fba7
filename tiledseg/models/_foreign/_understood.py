"""What a reader makes of a model that some other tool wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._cache import known_sha256
from .._state import State


@dataclass(frozen=True, slots=True)
class Understood:
    """A foreign model in the words of tiledseg.

    Args:
        kind: What it is, for people: ``nnU-Net v2 folder``.
        card: Keys and values as in ``model.yaml``. What the source does not say is left out, never
            guessed without a note; the user completes it.
        files: All files it was read from. Together they are its identity.
        states: Read the weights, one for every fold. Names that begin with what a wrapper put in
            front (``module.``) are fine: see `tiledseg.models._state`.
        graph: A graph file to run, in place of `states`; its kind is ``card["format"]``.
        beside: Files that the graph needs in its folder, under their names.
        missing: Keys of a card that the user must say, and why: a clause each.
        notes: Sentences on what was understood, and on what was left out.
        examples: Values of missing keys for an example, where the source tells of what kind.
        completed_by: A file beside the source, with keys of a card, that completes what it says.
    """

    kind: str
    card: Mapping[str, Any]
    files: tuple[Path, ...]
    states: tuple[State, ...] = ()
    graph: Path | None = None
    beside: tuple[Path, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    completed_by: Path | None = None

    @property
    def sha256(self) -> str:
        """Digest of all files read, in hexadecimal; that of the file where there is one."""
        digests = [known_sha256(file) for file in self.files]
        return digests[0] if len(digests) == 1 else _digest(*digests)

    def fold_sha256(self) -> list[str]:
        """Return a digest for each state that tells its weights from those of the others."""
        whole = self.sha256
        if len(self.states) < 2:
            return [whole]
        return [_digest(whole, str(fold)) for fold in range(len(self.states))]

    def values(self, source: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of the card that are known so far."""
        weights = "weights.safetensors" if self.graph is None else self.graph.name
        values = {
            "name": source.stem or source.name,
            "format": "tiledseg",
            "provenance": f"imported from {source.name}, sha256 {self.sha256[:12]}",
            **{k: v for k, v in merged(self.card, changes).items() if v != ""},
            "weights": weights,
            "sha256": None,
        }
        folds = [f"fold_{i}.safetensors" for i in range(1, len(self.states))]
        return {**values, "folds": folds} if folds else values


def merged(card: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys of a card, with changes over them; an architecture's arguments one by one."""
    values = {**card, **changes}
    for name in ("architecture", "tiling"):
        parts = [given[name] for given in (card, changes) if name in given]
        if len(parts) == 2 and all(isinstance(part, Mapping) for part in parts):
            values[name] = {**parts[0], **parts[1]}
    if isinstance(values.get("classes"), list | tuple):
        values["classes"] = [{"name": c} if isinstance(c, str) else c for c in values["classes"]]
    return values


def _digest(*parts: str) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()
