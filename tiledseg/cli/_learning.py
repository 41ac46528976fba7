"""Commands of training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._options import Device, Json, Quiet, Threads


def train(
    recipe: Annotated[Path, typer.Argument(help="YAML file; see `tiledseg config --recipe`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    device: Device = None,
    threads: Threads = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: run.steps=2000")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; else an earlier run is gone on with.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a model on labelled images; run it again to go on after a stop."""
    from ..training import Recipe
    from ._train import execute as execute_training

    settings = Recipe.read(recipe, changes or ())
    execute_training(settings, out, (fresh, device or "cpu", threads), quiet, as_json)
