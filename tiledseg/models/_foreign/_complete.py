"""The checked card of a foreign model, or one sentence that says how to complete it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...document import to_flow
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
        raise ConfigError(_sentence(understood, source, said, problems))
    return card


def _sentence(
    understood: Understood, source: Path, given: Mapping[str, Any], problems: list[str]
) -> str:
    """Return what is missing or wrong, what the weights look like, and the command to write."""
    missing = [p.removesuffix(_MISSING) for p in problems if p.endswith(_MISSING)]
    wrong = [p for p in problems if not p.endswith(_MISSING)]
    unsaid = [f"does not say {', '.join(missing)}"] if missing else []
    alike = _alike(understood) if "architecture.name" in missing else None
    looks = [f"its weights look like those of {alike}"] if alike else []
    said = dict(_keys(given))
    bad = [key for key in (*understood.missing, *said) if _is_bad(key, wrong)]
    fine = [key for key in said if key not in bad]
    asked = [*missing, *bad]
    if "architecture.name" in asked and "architecture.encoder" not in fine:
        asked.append("architecture.encoder")
    known = {**_EXAMPLES, **understood.examples, **(_told(alike) if alike else {})}
    told = {**{key: known.get(key) for key in asked}, **{key: said[key] for key in fine}}
    sets = " ".join(_set(key, value) for key, value in told.items() if value is not None)
    way = f"tiledseg import {shlex.quote(str(source))} --out MODEL {sets or '--set KEY=VALUE'}"
    file = understood.completed_by
    beside = "" if file is None else f", or write these keys to {file}"
    return (
        f"{source} ({understood.kind}) {'; '.join([*unsaid, *wrong, *looks])}; say it, like: "
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


def _keys(given: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield keys and values as options say them, sections key by key.

    >>> dict(_keys({"dims": 2, "architecture": {"name": "unet", "features": [8, 16]}}))
    {'dims': 2, 'architecture.name': 'unet', 'architecture.features': [8, 16]}
    """
    for key, value in given.items():
        if isinstance(value, dict) and all(isinstance(k, str) and "." not in k for k in value):
            yield from _keys(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _is_bad(key: str, problems: list[str]) -> bool:
    """Return whether one of the problems is of a key, like ``window.0: input should be ...``."""
    return any(f"{p.partition(': ')[0]}.".startswith(f"{key}.") for p in problems)


def _set(key: str, value: Any) -> str:
    """Return an option that says a key, as a shell takes it.

    >>> _set("classes", ["land", "water"])
    "--set 'classes=[land, water]'"
    """
    plain = json.loads(json.dumps(value, default=str))  # Python may give what YAML has no word for
    return f"--set {shlex.quote(f'{key}={to_flow(plain)}')}"
