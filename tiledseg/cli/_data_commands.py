"""The commands about what a model is trained on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._commands import app
from ._options import Json, Quiet
from ._tell import tell

if TYPE_CHECKING:
    from ..datasets import Dataset

__all__ = ["app"]

_BAD = 2
_Dataset = Annotated[
    str,
    typer.Argument(
        help="YAML, table (.csv) or folder of images and labels; a folder may be laid out as "
        "Pascal VOC, COCO, Cityscapes, ScanNet, the Decathlon or nnU-Net."
    ),
]


@app.command()
def check(
    dataset: _Dataset,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the page; default: NAME.check beside the dataset, or here where that "
            "cannot be written.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Look through a dataset: sizes, classes, labels, copies, leaks; a page with pictures."""
    from .. import pipeline
    from ..datasets import read_dataset
    from ._check import show

    opened = read_dataset(dataset)
    folder = out or _beside(opened, dataset)
    seen = 0

    def said(name: str) -> None:
        nonlocal seen
        seen += 1
        tell(f"{seen} of {len(opened)}: {name}", err=True)

    checked = pipeline.check(opened, folder, None if quiet or as_json else said)
    facts = pipeline.check_facts(checked)
    if as_json:
        typer.echo(json.dumps(asdict(facts), default=str))
    else:
        show(facts, folder / "report.html")
    return _BAD if checked.errors else 0


def _beside(opened: Dataset, named: str) -> Path:
    """Return the folder of a page: beside the dataset, where that can be written."""
    home, name = Path(named).parent, f"{Path(opened.name).name}.check"
    return home / name if os.access(home, os.W_OK) else Path(name)


@app.command("plan-training")
def plan_training(
    dataset: _Dataset,
    out: Annotated[Path, typer.Option("--out", "-o", help="Recipe to write (.yaml).")],
    memory: Annotated[str, typer.Option(help="Memory the training may take.")] = "6GB",
    minutes: Annotated[float, typer.Option(help="Minutes it may take.")] = 60.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace the recipe.")] = False,
) -> None:
    """Write a recipe for a dataset that fits memory and time, with the reason of every setting."""
    from .. import pipeline
    from ..document import read_mapping
    from ..training import WANTED
    from ._progress import Share

    with Share("looking at", quiet=False) as share:
        recipe = pipeline.plan_training(dataset, out, memory, minutes, fresh, share)
    steps = read_mapping(recipe, "recipe")["run"]["steps"]
    few = f"; fewer than the {WANTED} it should have: give more --minutes" if steps < WANTED else ""
    tell(f"{steps:,} steps in {minutes:g} min{few}; reasons are in the file", err=True)
    tell(recipe)
