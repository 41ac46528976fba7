"""What was found of a dataset, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ._tell import line, tell

if TYPE_CHECKING:
    from ..report import CheckFacts


def show(facts: CheckFacts, page: Path) -> None:
    """Print what a dataset is, and where its page lies."""
    console = Console(soft_wrap=True, highlight=False)
    tell(facts.title)
    for name, value in facts.facts.items():
        tell(f"{name:22} {line(value)}")
    table = Table("class", "samples", "share", "cases", "groups")
    for c in facts.classes:
        cells = (c["name"], f"{c['samples']:,}", f"{c['share']:.3%}", c["cases"], c["groups"])
        table.add_row(*(Text(line(cell)) for cell in cells))
    console.print(table)
    for text in facts.warnings:
        tell(f"warning: {line(text)}")
    for text in facts.errors:
        tell(f"error: {line(text)}", err=True)
    tell(f"pictures in {page}")
