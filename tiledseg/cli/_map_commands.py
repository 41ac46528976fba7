"""The command that changes a finished class map: postprocess."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from ._commands import app
from ._options import Json, Quiet
from ._tell import tell


@app.command()
def postprocess(
    class_map: Annotated[str, typer.Argument(metavar="MAP", help="Class map of any tool.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Class map to write.")],
    keep_largest: Annotated[
        list[str] | None,
        typer.Option(help="Keep the largest object of this class only; all: of every class."),
    ] = None,
    min_area: Annotated[
        float | None, typer.Option(help="Remove smaller objects, in m2 (geodesic for degrees).")
    ] = None,
    min_volume: Annotated[float | None, typer.Option(help="Remove smaller ones, in mm3.")] = None,
    min_samples: Annotated[
        int | None, typer.Option(help="Remove objects of fewer samples.")
    ] = None,
    small: Annotated[
        Literal["background", "nodata", "neighbour"],
        typer.Option(
            help="What they become; neighbour: the class they share the longest border with, until "
            "none is left (minimum mapping unit)."
        ),
    ] = "background",
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Remove small objects of this class only.")
    ] = None,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Fill background that lies within one class.")
    ] = False,
    connectivity: Annotated[
        int | None, typer.Option(help="Neighbours: 4 or 8; of volumes 6, 18 or 26.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Keep the largest objects, remove small ones, fill holes, in this order."""
    from .. import pipeline
    from ..components import FillHoles, KeepLargest, RemoveSmall, Step
    from ._progress import Share

    steps: list[Step] = []
    if keep_largest:
        steps.append(KeepLargest(() if keep_largest == ["all"] else tuple(keep_largest)))
    if min_area is not None:
        steps.append(RemoveSmall(min_area, "m2", small, tuple(classes or ())))
    if min_volume is not None:
        steps.append(RemoveSmall(min_volume, "mm3", small, tuple(classes or ())))
    if min_samples is not None:
        steps.append(RemoveSmall(min_samples, "samples", small, tuple(classes or ())))
    if fill_holes:
        steps.append(FillHoles())
    with Share("postprocessing", quiet) as share:
        made = pipeline.postprocess(
            class_map, out, steps, connectivity=connectivity, on_share=share
        )
    if as_json:
        typer.echo(json.dumps(made.to_dict()))
    elif not quiet:
        tell(made.summary())
