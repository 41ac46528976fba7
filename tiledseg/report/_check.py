"""The page of a dataset that was checked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..grid import Grid
from ..io import write_text, writing
from ..labels import ClassSchema
from ._encoded import photo
from ._html import render
from ._pictures import panels

#: Width of a picture on the page: two panels, each as wide as a phone.
_WIDTH = 760


@dataclass(frozen=True, slots=True)
class ShownCase:
    """A case as it is shown.

    Args:
        caption: Its name and what is known of it.
        grid: Grid of the decimated image.
        schema: The classes.
        image: Decimated image, (c, *s).
        valid: Where it was measured, (*s).
        class_map: Class ids at the same samples, (*s).
        channels: Names of the channels.
    """

    caption: str
    grid: Grid
    schema: ClassSchema
    image: NDArray[Any]
    valid: NDArray[np.bool_]
    class_map: NDArray[Any]
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """Everything the page of a dataset tells.

    Args:
        title: Heading.
        errors: What prevents training, a sentence each.
        warnings: What should be known, a sentence each.
        facts: What the dataset is: name -> value, in the order to show.
        classes: Per class: name, color, samples, share, cases, groups.
        cases: Per case: name, group, split, shape, spacing, unlabelled share, shares of classes.
        versions: Package -> version.
    """

    title: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    facts: dict[str, str]
    classes: tuple[dict[str, Any], ...]
    cases: tuple[dict[str, Any], ...]
    versions: dict[str, str]


def write_check_report(
    folder: Path, facts: CheckFacts, shown: Iterable[ShownCase]
) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.json``.

    Args:
        folder: Where; made if it is not there.
        facts: What to tell.
        shown: Cases to show, drawn one after the other.

    Returns:
        Both files.

    Raises:
        OutputFailed: A file cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pictures = [(case.caption, photo(_fitted(panels(case)))) for case in shown]
    html, figures = folder / "report.html", folder / "report.json"
    write_text(html, render("check.html", facts=facts, pictures=pictures))
    write_text(figures, json.dumps(asdict(facts), indent=2, default=str))
    return html, figures


def _fitted(picture: Image.Image) -> Image.Image:
    if picture.width <= _WIDTH:
        return picture
    height = max(1, round(picture.height * _WIDTH / picture.width))
    return picture.resize((_WIDTH, height), Image.Resampling.LANCZOS)
