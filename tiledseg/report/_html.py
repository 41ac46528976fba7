"""The report pages: self-contained files, no scripts, nothing from outside."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader
from PIL import Image

from ._facts import ReportFacts

if TYPE_CHECKING:
    from ._batch import BatchFacts
    from ._check import CheckFacts

_PAGES = Environment(
    loader=PackageLoader("tiledseg.report", "."), autoescape=True, trim_blocks=True
)


def page(facts: ReportFacts, picture: Image.Image) -> str:
    """Return the report as HTML."""
    template = _PAGES.get_template("template.html")
    return template.render(facts=facts, picture=embedded(picture))


def check_page(facts: CheckFacts, pictures: list[tuple[str, Image.Image]]) -> str:
    """Return the page of a dataset that was checked as HTML.

    Args:
        facts: What to tell.
        pictures: Caption and picture of the cases that are shown.
    """
    shown = []
    for caption, picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=82)
        encoded = base64.b64encode(buffer.getvalue()).decode()
        shown.append((caption, f"data:image/jpeg;base64,{encoded}"))
    return _PAGES.get_template("check.html").render(facts=facts, pictures=shown)


def batch_page(facts: BatchFacts, links: dict[Path, str], classes: list[str]) -> str:
    """Return the report of a batch as HTML.

    Args:
        facts: What to tell.
        links: Class map -> page of its own report.
        classes: The classes to show, by name.
    """
    return _PAGES.get_template("batch.html").render(facts=facts, links=links, classes=classes)


def render(template: str, **values: Any) -> str:
    """Return a page of this folder, filled in."""
    return _PAGES.get_template(template).render(**values)


def embedded(picture: Image.Image) -> str:
    """Return a picture as a URL that holds it."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
