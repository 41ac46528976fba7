"""The report pages: self-contained files, no scripts, nothing from outside."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader

from ._facts import ReportFacts

_PAGES = Environment(
    loader=PackageLoader("tiledseg.report", "."), autoescape=True, trim_blocks=True
)


def page(facts: ReportFacts, picture: str) -> str:
    """Return the report as HTML, with the URL of a picture."""
    return render("template.html", facts=facts, picture=picture)


def render(template: str, **values: Any) -> str:
    """Return a page of this folder, filled in."""
    return _PAGES.get_template(template).render(**values)
