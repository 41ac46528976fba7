"""The architectures and the bundled models, as tables; one architecture, with what it takes."""

from __future__ import annotations

import json
from inspect import Parameter
from typing import Any

import typer

from ..models import (
    ARCHITECTURE_COLUMNS,
    BUNDLED_COLUMNS,
    architecture_rows,
    arguments_of,
    bundled_rows,
    find_architectures,
)


def show(name: str | None, as_json: bool) -> None:
    """Print the table, or the rows and arguments of one architecture.

    Raises:
        ConfigError: There is no such architecture.
        MissingBackend: Its library is not installed.
    """
    rows = [dict(zip(ARCHITECTURE_COLUMNS, row, strict=True)) for row in architecture_rows(name)]
    taken = [] if name is None else [_taken(arguments_of(a)) for a in find_architectures(name)]
    if as_json:
        more: list[dict[str, Any]] = [{"arguments": t} for t in taken] or [{}] * len(rows)
        typer.echo(json.dumps([{**row, **m} for row, m in zip(rows, more, strict=True)]))
        return
    _print_table([ARCHITECTURE_COLUMNS, *(tuple(row.values()) for row in rows)])
    for row, arguments in zip(rows, taken, strict=bool(taken)):
        with_encoder = " with an encoder" if row["encoder"] != "-" else ""
        typer.echo(f"\n{name}{with_encoder} takes:")
        for key, default in arguments.items():
            typer.echo(f"  {key}: {default}")


def show_bundled(as_json: bool) -> None:
    """Print the models that come with the package."""
    if as_json:
        rows = [dict(zip(BUNDLED_COLUMNS, row, strict=True)) for row in bundled_rows()]
        typer.echo(json.dumps(rows))
        return
    typer.echo("\nbundled models, for `tiledseg segment IMAGE --model NAME`:")
    _print_table([BUNDLED_COLUMNS, *bundled_rows()])


def _taken(arguments: dict[str, Any]) -> dict[str, str]:
    """Return arguments and their defaults as they are written."""
    return {k: "no default" if v is Parameter.empty else repr(v) for k, v in arguments.items()}


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
