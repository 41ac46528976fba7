"""What was understood of a foreign model, for people."""

from __future__ import annotations

import json
from typing import Any

import typer

from ..models import Imported, ModelCard, card_to_dict
from ._tell import line, tell


def show(made: Imported, as_json: bool) -> None:
    """Print what was understood and what was written."""
    if as_json:
        told = {
            "kind": made.kind,
            "card": card_to_dict(made.card),
            "files": [str(file) for file in made.files],
            "notes": list(made.notes),
        }
        typer.echo(json.dumps(told))
        return
    for name, value in {"understood": made.kind, **_facts(made.card)}.items():
        tell(f"{name:<14}{line(value)}")
    for note in made.notes:
        tell(f"{'note':<14}{line(note)}")
    tell(f"{'wrote':<14}{', '.join(map(str, made.files))}")


def _facts(card: ModelCard) -> dict[str, Any]:
    """Return what a person wants to check before running the model."""
    steps = [_step(step) for step in card.normalization.to_list()]
    scores = "as the model gives them" if card.activation == "none" else f"by {card.activation}"
    size = "" if card.any_size else ", no other"
    multiple = f", multiples of {card.multiple}" if card.multiple > 1 else ""
    return {
        "name": card.name,
        "network": card.architecture.get("name", f"a graph ({card.format})"),
        "channels": _listed(card.channels),
        "classes": _listed(tuple(f"{c.id} {c.name}" for c in card.schema.unique)),
        "window": f"{_sizes(card.window)}{size}{multiple}",
        **({"spacing": _sizes(card.spacing)} if card.spacing else {}),
        **({"orientation": card.orientation} if card.orientation else {}),
        **({"folds": len(card.folds) + 1} if card.folds else {}),
        "normalisation": ", then ".join(steps) or "none: the model takes raw values",
        "scores": scores,
        "licence": card.licence or "not stated",
        "provenance": card.provenance or "not stated",
    }


def _step(step: dict[str, Any]) -> str:
    """Return a step of the normalisation; what is not asked of it (False) goes without saying."""
    told = [
        key if value is True else f"{key} {_short(value)}"
        for key, value in step.items()
        if key != "kind" and value is not False
    ]
    return f"{step['kind']} ({', '.join(told)})" if told else str(step["kind"])


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:12])
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"{len(names)}: {shown}{more}"


def _sizes(values: tuple[float | None, ...]) -> str:
    return " x ".join("any" if value is None else f"{value:g}" for value in values)


def _short(value: Any) -> str:
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, float) else str(value)
    shown = ", ".join(f"{v:.4g}" for v in value[:4])
    return f"{shown} ... ({len(value)})" if len(value) > 4 else shown
