"""The command that changes a finished class map: postprocess."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from . import _step_options as step
from ._commands import app
from ._options import Json, Memory, Quiet
from ._tell import tell


@app.command()
def postprocess(
    class_map: Annotated[str, typer.Argument(metavar="MAP", help="Class map of any tool.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Class map to write.")],
    smooth: step.Smooth = None,
    keep_largest: step.KeepLargest = None,
    min_area: step.MinArea = None,
    min_volume: step.MinVolume = None,
    min_samples: step.MinSamples = None,
    small: step.SmallBecomes = "background",
    classes: step.SmallClasses = None,
    fill_holes: step.FillHoles = False,
    connectivity: step.Connectivity = None,
    steps: step.Steps = None,
    memory: Memory = None,
    report: Annotated[bool, typer.Option(help="Write the report folder beside the map.")] = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Smooth, keep the largest objects, remove small ones, fill holes, in this order."""
    from .. import pipeline
    from ._progress import Share

    options = step.StepOptions(
        smooth=smooth,
        keep_largest=keep_largest,
        min_area=min_area,
        min_volume=min_volume,
        min_samples=min_samples,
        small=small,
        classes=classes,
        fill_holes=fill_holes,
        connectivity=connectivity,
        steps=steps,
    )
    with Share("postprocessing", quiet) as share:
        made = pipeline.postprocess(
            class_map,
            out,
            options.listed(),
            budget=memory,
            with_report=report,
            on_share=share,
        )
    if as_json:
        typer.echo(json.dumps(made.to_dict()))
    elif not quiet:
        tell(made.summary())
