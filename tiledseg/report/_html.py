"""The report page: one self-contained file, no scripts, nothing from outside."""

from __future__ import annotations

import base64
import io

from jinja2 import Environment, PackageLoader
from PIL import Image

from ._facts import ReportFacts

_PAGE = Environment(
    loader=PackageLoader("tiledseg.report", "."), autoescape=True, trim_blocks=True
).get_template("template.html")


def page(facts: ReportFacts, picture: Image.Image) -> str:
    """Return the report as HTML."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return _PAGE.render(facts=facts, picture=f"data:image/png;base64,{encoded}")
