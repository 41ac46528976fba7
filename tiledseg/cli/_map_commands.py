"""Commands for a finished class map: postprocess, vectorize."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from . import _step_options as step
from ._commands import app
from ._options import Fresh, Json, Memory, Quiet, parts
from ._tell import tell_result


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
            memory=memory,
            with_report=report,
            on_share=share,
        )
    tell_result(made, quiet, as_json)


@app.command()
def vectorize(
    class_map: Annotated[str, typer.Argument(metavar="MAP", help="Class map of any tool.")],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Vector file: .gpkg, .fgb, .parquet, .geojson, .pmtiles",
        ),
    ],
    classes: Annotated[
        str | None,
        typer.Option(help="Names or ids of the classes wanted, like forest,water; all by default."),
    ] = None,
    min_area: Annotated[
        float | None,
        typer.Option(help="Leave out smaller objects, in m2 (geodesic for degrees)."),
    ] = None,
    connectivity: Annotated[
        int | None, typer.Option(help="Neighbours: 4, or 8: corners join, too.")
    ] = None,
    dissolve: Annotated[
        bool, typer.Option("--dissolve", help="One multipolygon per class.")
    ] = False,
    smooth: Annotated[
        bool,
        typer.Option("--smooth", help="Take the steps of samples off borders, before simplifying."),
    ] = False,
    simplify: Annotated[
        float | None,
        typer.Option(help="Simplify borders, shared by both sides: tolerance in the map's units."),
    ] = None,
    method: Annotated[
        Literal["visvalingam", "douglas-peucker"] | None,
        typer.Option(help="How borders are simplified; visvalingam by default."),
    ] = None,
    regularize: Annotated[
        str | None,
        typer.Option(help="Classes whose outlines get right angles, like building,5."),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(help="Scores of 0 to 1, FILE or FILE:CHANNEL; polygons get their mean."),
    ] = None,
    memory: Memory = None,
    workers: Annotated[
        int, typer.Option(help="Bands worked on at the same time; the file stays the same.")
    ] = 1,
    fresh: Fresh = False,
    report: Annotated[
        bool, typer.Option("--report", help="Draw the polygons into a report beside them.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn a class map of any size into polygons."""
    from .. import pipeline
    from ._progress import Share

    asked = {
        "classes": parts(classes),
        "min_area": min_area,
        "connectivity": connectivity,
        "dissolve": dissolve or None,
        "smooth": smooth or None,
        "simplify": simplify,
        "method": method,
        "regularize": parts(regularize),
    }
    settings = {name: value for name, value in asked.items() if value is not None}
    with Share("polygons", quiet) as share:
        made = pipeline.vectorize(
            class_map,
            out,
            memory,
            scores=scores,
            workers=workers,
            fresh=fresh,
            with_report=report,
            on_share=share,
            **settings,
        )
    tell_result(made, quiet, as_json)
