"""Models of two stages: the class map of the first is a further input of the second."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..models import Model, ModelCard, find_card

#: Settings of a run that are those of its first stage, too.
_SHARED = ("runtime", "budget", "combine")


def stage_before(
    models: Model | Sequence[str | Path], out: Path | None, settings: dict[str, Any]
) -> tuple[Path, Path] | None:
    """Return the model of a stage that must run first, and its class map; None: there is none.

    Args:
        models: The model of the run, or where it is.
        out: The class map of the run; None keeps it in memory.
        settings: The sections of the config.

    Raises:
        ConfigError: There is such a stage, and it cannot be run from here.
    """
    if isinstance(models, Model) or len(models) != 1:
        return None
    card = find_card(models[0])
    if card.previous is None or _given(settings) is not None:
        return None
    if out is None:
        raise ConfigError(f"model {card.name!r} needs the class map of another first: name an out")
    suffix = "".join(Path(out.name).suffixes[-2:]) if out.name.endswith(".gz") else out.suffix
    name = out.name.removesuffix(suffix)
    return _model(Path(models[0]), card), out.with_name(f"{name}.previous{suffix}")


def first_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the first stage: where and with what it runs, and which image."""
    shared = {name: settings[name] for name in _SHARED if name in settings}
    given = settings.get("input", {})
    image = given if isinstance(given, dict) else {"channels": given.channels}
    wanted = {k: v for k, v in image.items() if k in ("channels", "series", "resample")}
    return {**shared, "input": wanted, "output": {"report": False, "postprocess": ()}}


def second_settings(settings: dict[str, Any], found: Path) -> dict[str, Any]:
    """Return the settings of the second stage."""
    given = settings.get("input", {})
    image = dict(given) if isinstance(given, dict) else {"channels": given.channels}
    return {**settings, "input": {**image, "previous": str(found)}}


def _given(settings: dict[str, Any]) -> Any:
    given = settings.get("input", {})
    return given.get("previous") if isinstance(given, dict) else given.previous


def _model(place: Path, card: ModelCard) -> Path:
    """Return where the model of the first stage is: beside that of the second."""
    name = "" if card.previous is None else card.previous.model
    beside = (place if place.is_dir() else place.parent).absolute().parent / name
    if not name or not os.path.exists(beside):
        raise ConfigError(
            f"model {card.name!r} needs the class map of another first"
            f"{f', {beside}, which is not there' if name else ''}: give it with input.previous"
        )
    return beside
