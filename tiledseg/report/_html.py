"""The report pages: self-contained files, no scripts, nothing from outside."""

from __future__ import annotations

import base64
import io
from typing import Any

from jinja2 import Environment, PackageLoader
from PIL import Image

from ._facts import ReportFacts

_PAGES = Environment(
    loader=PackageLoader("tiledseg.report", "."), autoescape=True, trim_blocks=True
)


def page(facts: ReportFacts, picture: Image.Image) -> str:
    """Return the report as HTML."""
    return render("template.html", facts=facts, picture=embedded(picture))


def render(template: str, **values: Any) -> str:
    """Return a page of this folder, filled in."""
    return _PAGES.get_template(template).render(**values)


def embedded(picture: Image.Image, photo: bool = False) -> str:
    """Return a picture as a URL that holds it; a photo not to the last bit."""
    buffer = io.BytesIO()
    kind, how = ("jpeg", {"quality": 82}) if photo else ("png", {"optimize": True})
    picture.save(buffer, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
