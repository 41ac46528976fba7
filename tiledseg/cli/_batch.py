"""Many images on the command line: a bar over all windows, and a line for every input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from ..engine import Event, TileLost
from ..pipeline import InputEnded, InputPlanned, segment_many
from ._progress import Bar
from ._tell import tell

if TYPE_CHECKING:
    from ..pipeline import BatchResult

_BAD, _SOME_FAILED, _OVER_BUDGET = 2, 3, 4


def execute_many(values: dict[str, Any], fresh: bool, quiet: bool, as_json: bool) -> int:
    """Segment many images and return the exit status."""
    images, model, out, settings = _split(values)
    with Bar(0, quiet) as bar:

        def listen(name: str, event: Event | InputPlanned | InputEnded) -> None:
            if isinstance(event, InputPlanned):
                bar.expect(event.windows)
            elif isinstance(event, TileLost):
                if not quiet:
                    bar.say(f"{name}: tile {event.tile} failed: {event.reason}")
            elif not isinstance(event, InputEnded):
                bar(event)
            elif not quiet:
                bar.say(_line(event))

        result = segment_many(
            images,
            model,
            out,
            fresh=fresh,
            on_event=listen,
            on_message=None if quiet else bar.say,
            **settings,
        )
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    elif not quiet:
        tell(result.summary())
    else:
        for row in result.rows:
            if row.state in ("failed", "partly"):
                tell(f"tiledseg: {row.name} {row.state}: {row.problem}", err=True)
    return _status(result)


def _split(values: dict[str, Any]) -> tuple[list[str], Any, str, dict[str, Any]]:
    settings = dict(values)
    images, model, out = (settings.pop(key) for key in ("image", "model", "out"))
    return [images] if isinstance(images, str) else images, model, out, settings


def _line(event: InputEnded) -> str:
    row = event.row
    if row.state in ("failed", "partly"):
        return f"{row.name} {row.state}: {row.problem}"
    if row.state == "kept":
        return f"{row.name} kept: {row.out} was made from the same image, model and settings"
    return f"{row.name} done: {row.windows} windows, {row.seconds:.1f} s, {row.out}"


def _status(result: BatchResult) -> int:
    failed = result.count("failed")
    if failed == len(result.rows):
        return _OVER_BUDGET if result.refused else _BAD
    return _SOME_FAILED if failed or result.count("partly") else 0
