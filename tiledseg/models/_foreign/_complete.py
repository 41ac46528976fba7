"""The checked card of a foreign model, or one sentence that says how to complete it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import ConfigError, TiledsegError
from .._base import ModelCard
from .._card import card_from_dict
from .._likeness import Likeness, likeness
from ._understood import Understood

_MISSING = ": is missing"
#: What an example says for a key where nothing better is known.
_EXAMPLES: dict[str, Any] = {
    "dims": 2,
    "channels": ["red", "green", "nir"],
    "classes": ["land", "water"],
    "window": [256, 256],
    "architecture.name": "unet",
    "architecture.encoder": "resnet18",
    "normalization": [{"kind": "linear", "scale": [0.0001]}],
}


def complete(
    understood: Understood, source: Path, changes: Mapping[str, Any] | None = None
) -> ModelCard:
    """Return the checked card, with what the user says over what the source says.

    Args:
        understood: What the source says.
        source: Where the model is.
        changes: Keys of a card, as in ``model.yaml``; classes may be plain names.

    Raises:
        ConfigError: A key is missing or wrong; the sentence has the command ready to copy.
    """
    said = changes or {}
    values = understood.values(source, said)
    problems = [f"{key}: {why}" for key, why in understood.missing.items() if key not in said]
    if understood.states and "name" not in (values.get("architecture") or ()):
        problems.append(f"architecture.name{_MISSING}")
    try:
        card = card_from_dict(values, f"of {source}")
    except ConfigError as error:
        told = str(error).removeprefix(f"card of {source}: ")
        problems = [*told.split("; "), *problems]
    if problems:
        raise ConfigError(_sentence(understood, source, problems))
    return card


def _sentence(understood: Understood, source: Path, problems: list[str]) -> str:
    """Return what is missing or wrong, what the weights look like, and the command to write."""
    missing = [p.removesuffix(_MISSING) for p in problems if p.endswith(_MISSING)]
    wrong = [p for p in problems if not p.endswith(_MISSING)]
    said = [f"does not say {', '.join(missing)}"] if missing else []
    alike = _alike(understood) if "architecture.name" in missing else None
    looks = [f"its weights look like those of {alike}"] if alike else []
    asked = [*missing, *(key for key in understood.missing if f"{key}: " in "; ".join(wrong))]
    if "architecture.name" in asked:
        asked.append("architecture.encoder")
    known = {**_EXAMPLES, **understood.examples, **(_told(alike) if alike else {})}
    sets = " ".join(_set(key, known[key]) for key in asked if known.get(key) is not None)
    way = f"tiledseg import {shlex.quote(str(source))} --out MODEL {sets or '--set KEY=VALUE'}"
    file = understood.completed_by
    beside = "" if file is None else f", or write these keys to {file}"
    return (
        f"{source} ({understood.kind}) {'; '.join([*said, *wrong, *looks])}; say it, like: "
        f"{way}{beside}"
    )


def _alike(understood: Understood) -> Likeness | None:
    """Return what the weights look like; nothing where they cannot be read."""
    with suppress(TiledsegError):
        return likeness(understood.states[0]())
    return None


def _told(alike: Likeness) -> dict[str, Any]:
    """Return the keys of a card that a likeness tells; None: the example is better without."""
    told: dict[str, Any] = {
        "dims": alike.dims,
        "window": [256, 256] if alike.dims == 2 else [96, 96, 96],
        "architecture.name": alike.architecture,
        "architecture.encoder": alike.encoder,
    }
    if alike.channels:
        told["channels"] = [f"channel {n}" for n in range(1, alike.channels + 1)]
        told["classes"] = [f"class {n}" for n in range(alike.classes)]
    return told


def _set(key: str, value: Any) -> str:
    """Return an option that says a key, as a shell takes it.

    >>> _set("classes", ["land", "water"])
    "--set 'classes=[land,water]'"
    """
    return f"--set {shlex.quote(f'{key}={_flow(value)}')}"


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, list):
        return f"[{','.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_flow(v)}' for k, v in value.items())}}}"
    return str(value)
