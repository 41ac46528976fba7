"""What a reader of a layout returns, and reading its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...document import read_mapping, read_text
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
    return read_mapping(path, f"file {path}", json.loads)


def read_lines(path: Path) -> list[str]:
    """Return the first words of the lines of a list, empty lines left out.

    Raises:
        ConfigError: It cannot be read.
    """
    text = read_text(path, f"file {path}")
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
