"""What a reader of a layout returns, and reading its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...document import read_document, read_values
from ...errors import ConfigError
from ...labels import ClassSchema
from .._case import Case
from .._dataset import Modality
from .._legend import Legend


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Args:
        cases: Images with labels.
        schema: The classes.
        legend: What label files hold; None: a value is its class's id.
        name: Its name, where it states one.
        modality: How intensities come about, where it states that.
        licence: Of the data, where it states one.
    """

    cases: list[Case]
    schema: ClassSchema
    legend: Legend | None = None
    name: str = ""
    modality: Modality = ""
    licence: str = ""


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file of a person's size.

    Raises:
        ConfigError: There is none, or it is no object.
    """
    try:
        text = read_document(path)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split()):.200}") from None
    values = read_values(text, str(path), json.loads)
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold an object, found {type(values).__name__}")
    return values


def read_lines(path: Path) -> list[str]:
    """Return the first words of the lines of a list, empty lines left out.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        text = read_document(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split()):.200}") from None
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def modality_of(names: list[str]) -> Modality:
    """Return the modality that channel names of dataset.json tell.

    >>> modality_of(["T1w MRI", "T2"]), modality_of(["CT"])
    ('mr', 'ct')
    """
    words = " ".join(names).lower()
    if words.split()[:1] == ["ct"]:
        return "ct"
    return "mr" if any(w in words for w in ("mr", "t1", "t2", "flair", "adc")) else ""
